"""Labelled samples to train on, and those held out to decide on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from deepcompress.data.calibration import ByteScaling, open_arrays, read_arrays, real_inputs
from deepcompress.data.user_code import attempt, load_callable
from deepcompress.errors import UserError
from deepcompress.ir.graph import Graph

if TYPE_CHECKING:
    import torch

Pair = tuple[np.ndarray, np.ndarray]

HELD_OUT = 10  # one sample of so many
FEWEST = 20
_SPLIT_SEED = 0
_END = object()  # of what a user's function yields


class Samples(Protocol):
    """Where training gets its data.

    Attributes:
        validation: float32 inputs [samples, *input shape] and int64 labels [samples].
        largest_label: of the validation and, as far as it is known before, of the training.
        fingerprint: changes with the data.
    """

    validation: Pair
    largest_label: int
    fingerprint: str

    def epoch(
        self, index: int, *, seed: int, batch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of one epoch; for the same index and seed the same again."""


def read_samples(data: str, scaling: ByteScaling | None) -> Samples:
    """The samples that the option `data` names: an .npz, or file.py:function.

    Args:
        scaling: how uint8 inputs become the network's.

    Raises:
        UserError: they cannot be had, or are not what training needs. A file.py is run.
    """
    if data.endswith(".py") or data.rpartition(":")[0].endswith(".py"):
        return _FromFunction(data)
    return _from_arrays(Path(data), scaling)


def _from_arrays(path: Path, scaling: ByteScaling | None) -> Samples:
    where = f"data file {path}"
    arrays = open_arrays(path, "data")
    training = _pair(arrays, "", scaling, path)
    if "validation_inputs" in arrays:
        validation = _pair(arrays, "validation_", scaling, path)
        _check_shapes(training[0], validation[0], where)
        return _FromArrays(training, validation, _digest(*training, *validation))
    held_out = _held_out(training[1])
    if len(held_out) < FEWEST or not held_out.any():
        raise UserError(
            f"it has {len(held_out)} samples of {len(np.unique(training[1]))} classes, too few to "
            "hold some of each out of the training",
            where,
            f"Save at least {FEWEST}, and two of a class; a thousand are a beginning",
        )
    used = tuple(array[~held_out] for array in training)
    validation = tuple(array[held_out] for array in training)
    return _FromArrays(used, validation, _digest(*training))


def _pair(
    arrays: dict[str, np.ndarray], prefix: str, scaling: ByteScaling | None, path: Path
) -> Pair:
    inputs, labels = read_arrays(arrays, path, "data", prefix=prefix)
    if labels is None:
        raise UserError(
            f"it has no array `{prefix}labels`",
            f"data file {path}",
            "Training needs the class of every input, as its index: "
            "numpy.savez(path, inputs=..., labels=...)",
        )
    return real_inputs(inputs, scaling, "data", path), labels.astype(np.int64)


def _check_shapes(training: np.ndarray, validation: np.ndarray, where: str) -> None:
    if training.shape[1:] != validation.shape[1:]:
        raise UserError(
            f"`inputs` is {list(training.shape)}, `validation_inputs` {list(validation.shape)}",
            where,
            "Save both as the network wants them",
        )


def _held_out(labels: np.ndarray) -> np.ndarray:
    """Whether each sample is kept to decide on, always the same.

    One in ten of every class, at least one where a class has two.
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
    training: Pair
    validation: Pair
    fingerprint: str

    @property
    def largest_label(self) -> int:
        return max(int(labels.max()) for _, labels in (self.training, self.validation))

    def epoch(
        self, index: int, *, seed: int, batch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        import torch

        inputs, labels = (torch.from_numpy(array) for array in self.training)
        order = np.random.default_rng((seed, index)).permutation(len(labels))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            yield inputs[chosen], labels[chosen]


class _FromFunction:
    """Batches that the user's function yields. The numbers it draws at random follow the seed."""

    def __init__(self, text: str) -> None:
        self.place = f"option data = {text}"
        self.name = text.rpartition(":")[2]
        self.function = load_callable("data", text)
        self.shape: tuple[int, ...] | None = None  # of a sample: the first one's
        parts = zip(*self._batches("validation", 0, 0), strict=True)
        self.validation: Pair = tuple(np.concatenate(part) for part in parts)
        # A mistake in the training's part is told now, not when the training begins.
        _, labels = next(self._batches("train", 0, 0))
        self.largest_label = int(max(labels.max(), self.validation[1].max()))
        code = Path(text.rpartition(":")[0]).read_bytes()
        self.fingerprint = _digest(*self.validation) + hashlib.sha256(code).hexdigest()

    def epoch(
        self, index: int, *, seed: int, batch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        import torch

        for inputs, labels in self._batches("train", index, seed):
            yield torch.from_numpy(inputs), torch.from_numpy(labels)

    def _batches(self, part: str, index: int, seed: int) -> Iterator[Pair]:
        """What the function yields for a part, checked; at least one."""
        call = f"{self.name}({part!r})"
        stream = _RandomStream(seed * 65537 + index & 0xFFFFFFFF)
        do = "Mend it: it is called with 'train' or 'validation'"

        def ask(question: Callable[[], Any]) -> Any:
            with stream:
                return attempt(question, call, self.place, do)

        yielded = ask(lambda: iter(self.function(part)))
        count = 0
        while (batch := ask(lambda: next(yielded, _END))) is not _END:
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                raise self._wrong(f"{call} yielded a {type(batch).__name__}")
            count += 1
            yield self._checked(*ask(partial(_as_arrays, batch)), call)
        if not count:
            raise self._wrong(f"{call} yielded nothing")

    def _checked(self, inputs: np.ndarray, labels: np.ndarray, call: str) -> Pair:
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
        if labels.min() < 0:
            raise self._wrong(f"{call} yielded the label {labels.min()}; the first class is 0")
        if not np.isfinite(inputs).all():
            raise self._wrong(f"{call} yielded inputs with NaN or infinity")
        return inputs.astype(np.float32), labels.astype(np.int64)

    def _wrong(self, what: str) -> UserError:
        return UserError(
            what, self.place, "Yield batches (inputs, labels), as arrays or tensors, for each part"
        )


def _as_arrays(batch: tuple[Any, Any]) -> Pair:
    return np.asarray(batch[0]), np.asarray(batch[1])


class _RandomStream:
    """Python's, numpy's and torch's own random numbers, from a seed, while this is entered.

    Entered again it goes on where it was; outside it nobody's random numbers change.
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
    """Raises UserError where the samples have not the network's input shape, or its classes."""
    inputs, _ = samples.validation
    place, shape = f"option data = {data}", graph.tensors[graph.inputs[0]].shape
    if inputs.shape[1:] != shape:
        raise UserError(
            f"its samples have the shape {'x'.join(map(str, inputs.shape[1:]))}, the model's input "
            f"is {'x'.join(map(str, shape))}",
            place,
            "Give [samples, channels, height, width], as the training fed them",
        )
    classes = graph.tensors[graph.outputs[0]].size
    if samples.largest_label >= classes:
        raise UserError(
            f"it has labels up to {samples.largest_label}, the model has {classes} outputs",
            place,
            "A label is the index of an output, the first is 0",
        )


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
