"""Labelled samples: those to train on, and those that are held out to measure accuracy."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from deepcompress.data.byte_scaling import ByteScaling, real_inputs
from deepcompress.data.npz import LARGEST_LABEL, Arrays, open_arrays, read_arrays
from deepcompress.data.user_code import attempt, is_python, load_callable
from deepcompress.data.user_code_guard import guarded_lookup
from deepcompress.errors import UserError, setting
from deepcompress.ir.arrays import AnyArray, BoolArray, Float32Array, Int64Array
from deepcompress.ir.graph import LARGEST_VALUE, Graph

if TYPE_CHECKING:
    import torch

    Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]

Pair = tuple[Float32Array, Int64Array]

HELD_OUT = 10  # one of this many samples
FEWEST = 20
_SPLIT_SEED = 0
_END = object()  # returned by next() after the last batch of the user's function


class Samples(Protocol):
    """The data of the option `data`.

    Attributes:
        validation: float32 inputs [samples, *input shape] and int64 labels [samples].
        largest_label: of the validation and, as far as it is known before training, of the rest.
        fingerprint: a text that changes with the data.
    """

    @property
    def validation(self) -> Pair: ...

    @property
    def largest_label(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def epoch(self, index: int, *, seed: int, batch: int) -> Batches:
        """Batches of one epoch: inputs and labels. The same index and seed give the same ones."""


def read_samples(
    data: str, scaling: ByteScaling | None, *, model: Path | None = None, import_seconds: int = 0
) -> Samples:
    """The samples of the option `data`: an .npz, or file.py:function, which is run.

    Args:
        scaling: how uint8 inputs become the network's.
        model: file that the Python file must not write while it is run.
        import_seconds: that the Python file may run until it has defined the function.

    Raises:
        UserError: they cannot be read, or are not what training needs.
    """
    if is_python(data):
        files = [model] if model else []
        with guarded_lookup("data", data, files=files, seconds=import_seconds):
            function = load_callable("data", data)
        return _FromFunction(data, function)
    return _from_arrays(Path(data), scaling)


def _from_arrays(path: Path, scaling: ByteScaling | None) -> Samples:
    where = f"data file {path}"
    arrays = open_arrays(path, "data")
    inputs, labels = _pair(arrays, "", scaling, path)
    if "validation_inputs" in arrays:
        validation = _pair(arrays, "validation_", scaling, path)
        _check_shapes(inputs, validation[0], where)
        return _FromArrays((inputs, labels), validation, _digest(inputs, labels, *validation))
    held_out = _held_out(labels)
    if len(held_out) < FEWEST or not held_out.any():
        raise UserError(
            f"it has {len(held_out)} samples of {len(np.unique(labels))} classes, too few to "
            "hold some of each out of the training",
            where,
            f"Save at least {FEWEST}, and two of each class; a good start is a thousand",
        )
    training = (inputs[~held_out], labels[~held_out])
    validation = (inputs[held_out], labels[held_out])
    return _FromArrays(training, validation, _digest(inputs, labels))


def _pair(arrays: Arrays, prefix: str, scaling: ByteScaling | None, path: Path) -> Pair:
    inputs, labels = read_arrays(arrays, path, "data", prefix=prefix)
    if labels is None:
        raise UserError(
            f"it has no array `{prefix}labels`",
            f"data file {path}",
            "Training needs the class of every input, as its index: "
            "numpy.savez(path, inputs=..., labels=...)",
        )
    return real_inputs(inputs, scaling, "data", path), labels.astype(np.int64)


def _check_shapes(training: Float32Array, validation: Float32Array, where: str) -> None:
    if training.shape[1:] != validation.shape[1:]:
        raise UserError(
            f"`inputs` is {list(training.shape)}, `validation_inputs` {list(validation.shape)}",
            where,
            "Save both as the network wants them",
        )


def _held_out(labels: Int64Array) -> BoolArray:
    """Whether each sample is held out for validation; always the same for the same labels.

    One in ten of every class is, and at least one of a class of two or more samples.
    """
    generator = np.random.default_rng(_SPLIT_SEED)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = max(round(len(members) / HELD_OUT), min(1, len(members) - 1))
        held_out[members[:count]] = True
    return held_out


@dataclass(frozen=True)
class _FromArrays:
    """Samples of an .npz."""

    training: Pair
    validation: Pair
    fingerprint: str

    @property
    def largest_label(self) -> int:
        return max(int(labels.max()) for _, labels in (self.training, self.validation))

    def epoch(self, index: int, *, seed: int, batch: int) -> Batches:
        import torch

        inputs, labels = (torch.from_numpy(array) for array in self.training)
        order = np.random.default_rng((seed, index)).permutation(len(labels))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            yield inputs[chosen], labels[chosen]


class _FromFunction:
    """Batches that the user's function yields; its random numbers depend only on the seed."""

    def __init__(self, text: str, function: Callable[..., Any]) -> None:
        self.where = f"option {setting('data', text)}"
        self.name = text.rpartition(":")[2]
        self.function = function
        self.shape: tuple[int, ...] | None = None  # of the first sample; all must have it
        inputs, labels = zip(*self._batches("validation", 0, 0), strict=True)
        self.validation: Pair = (np.concatenate(inputs), np.concatenate(labels))
        # The first training batch is checked now, so that a mistake shows before the training.
        _, first = next(self._batches("train", 0, 0))
        self.largest_label = int(max(first.max(), self.validation[1].max()))
        code = Path(text.rpartition(":")[0]).read_bytes()
        self.fingerprint = _digest(*self.validation) + hashlib.sha256(code).hexdigest()

    def epoch(self, index: int, *, seed: int, batch: int) -> Batches:
        import torch

        for inputs, labels in self._batches("train", index, seed):
            yield torch.from_numpy(inputs), torch.from_numpy(labels)

    def _batches(self, part: str, index: int, seed: int) -> Iterator[Pair]:
        """The checked batches of the function for "train" or "validation"; at least one."""
        call = f"{self.name}({part!r})"
        stream = _RandomStream(seed * 65537 + index & 0xFFFFFFFF)
        do = "Fix it: it is called with 'train' or 'validation'"

        def run(action: Callable[[], Any]) -> Any:
            """The result of the user's code, with its random numbers from the stream."""
            with stream:
                return attempt(action, call, self.where, do)

        batches = run(lambda: iter(self.function(part)))
        count = 0
        while (batch := run(lambda: next(batches, _END))) is not _END:
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                raise self._wrong(f"{call} yielded a {type(batch).__name__}")
            count += 1
            inputs, labels = run(partial(_as_arrays, batch))
            yield self._checked(inputs, labels, call)
        if not count:
            raise self._wrong(f"{call} yielded nothing")

    def _checked(self, inputs: AnyArray, labels: AnyArray, call: str) -> Pair:
        """float32 inputs and int64 labels of a batch."""
        if inputs.dtype.kind != "f" or inputs.ndim < 2 or not inputs.size:
            raise self._wrong(
                f"{call} yielded inputs of {inputs.dtype} {list(inputs.shape)}, not float "
                "[samples, ...] as the network wants them"
            )
        self.shape = self.shape or inputs.shape[1:]
        if inputs.shape[1:] != self.shape:
            raise self._wrong(
                f"{call} yielded inputs of {list(inputs.shape)} after [samples, "
                f"{', '.join(map(str, self.shape))}]"
            )
        if labels.dtype.kind not in "iu" or labels.shape != inputs.shape[:1]:
            raise self._wrong(
                f"{call} yielded labels of {labels.dtype} {list(labels.shape)} for "
                f"{len(inputs)} inputs, not one whole number each"
            )
        if labels.min() < 0 or labels.max() > LARGEST_LABEL:
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise self._wrong(f"{call} yielded the label {wrong}; the first class is 0")
        if not np.isfinite(inputs).all():
            raise self._wrong(f"{call} yielded inputs with NaN or infinity")
        if not (largest := np.abs(inputs).max()) <= LARGEST_VALUE:
            raise self._wrong(
                f"{call} yielded inputs up to {largest:.3g}; at most {LARGEST_VALUE:.0e} is "
                "possible"
            )
        return inputs.astype(np.float32), labels.astype(np.int64)

    def _wrong(self, what: str) -> UserError:
        return UserError(
            what, self.where, "Yield batches (inputs, labels), as arrays or tensors, for each part"
        )


def _as_arrays(batch: Sequence[Any]) -> tuple[AnyArray, AnyArray]:
    return np.asarray(batch[0]), np.asarray(batch[1])


class _RandomStream:
    """A context in which Python's, numpy's and torch's global random numbers come from a seed.

    Entered again, the stream continues. Random numbers outside the context are not affected.
    """

    def __init__(self, seed: int) -> None:
        import torch

        generator = torch.Generator().manual_seed(seed)
        legacy = np.random.RandomState(seed)
        self.inside = (random.Random(seed).getstate(), legacy.get_state(), generator.get_state())

    def __enter__(self) -> None:
        self.outside = self._swap(self.inside)

    def __exit__(self, *_: object) -> None:
        self.inside = self._swap(self.outside)

    @staticmethod
    def _swap(states: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        import torch

        before = (random.getstate(), np.random.get_state(), torch.get_rng_state())
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        return before


def check_samples(samples: Samples, graph: Graph, data: str | None) -> None:
    """Raises UserError unless the samples have the network's input shape and its classes."""
    inputs, _ = samples.validation
    where, shape = f"option {setting('data', data)}", graph.tensors[graph.inputs[0]].shape
    if inputs.shape[1:] != shape:
        raise UserError(
            f"its samples have the shape {'x'.join(map(str, inputs.shape[1:]))}, the model's input "
            f"is {'x'.join(map(str, shape))}",
            where,
            "Give [samples, channels, height, width], as the training fed them",
        )
    classes = graph.tensors[graph.outputs[0]].size
    if samples.largest_label >= classes:
        raise UserError(
            f"it has labels up to {samples.largest_label}, the model has {classes} outputs",
            where,
            "A label is the index of an output, the first is 0",
        )


def _digest(*arrays: AnyArray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
