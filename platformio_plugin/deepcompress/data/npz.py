"""Reads and checks the arrays of an `.npz` file: inputs, and labels if it has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepcompress.data.npz_sizes import check_sizes
from deepcompress.errors import UserError, did_you_mean, guard, reason, setting
from deepcompress.ir.arrays import AnyArray
from deepcompress.ir.graph import LARGEST_VALUE

Arrays = dict[str, AnyArray]

LARGEST_LABEL = 2**31 - 1


def open_arrays(path: Path, option: str) -> Arrays:
    """The arrays of an `.npz` by name; a plain `.npy` is the array `inputs`.

    Args:
        option: that names the file, for errors.

    Raises:
        UserError: there is no such file, or it is not an `.npz` of plain arrays.
    """
    if not path.is_file():
        neighbours = [p.name for p in path.parent.glob("*.npz")] if path.parent.is_dir() else []
        raise UserError(
            f"there is no such file{did_you_mean(path.name, neighbours)}",
            f"{option} file {path}",
            f"Set {setting(option)} to the path of an .npz; it is relative to the project's folder "
            "or, on the command line, to the current folder",
        )
    return guard(
        lambda: _loaded(path),
        lambda error: UserError(
            f"it cannot be read as an .npz of plain arrays ({reason(error)})",
            f"{option} file {path}",
            "Save it with numpy.savez(path, inputs=..., labels=...)",
        ),
    )


def _loaded(path: Path) -> Arrays:
    """The arrays of a file; members of other kinds, such as a text, are left out.

    Raises:
        ValueError: two members have one name.
    """
    check_sizes(path)
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"inputs": loaded}
    with loaded:
        if len(set(loaded.files)) < len(loaded.files):
            raise ValueError("it holds two arrays of one name")
        arrays = {name: loaded[name] for name in loaded.files}
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def read_arrays(
    arrays: Arrays, path: Path, option: str, *, prefix: str = ""
) -> tuple[AnyArray, AnyArray | None]:
    """The array `inputs`, float or uint8 [samples, ...], and `labels` [samples] or None.

    Args:
        option: that names the file, for errors.
        prefix: of the arrays' names.

    Raises:
        UserError: there are no inputs, or one of the arrays is not as it should be.
    """
    where = f"{option} file {path}"
    example = f"{prefix}inputs=..., {prefix}labels=..."
    inputs = array_named(f"{prefix}inputs", arrays, where, example)
    labels = arrays.get(f"{prefix}labels")
    check_inputs(inputs, where)
    check_labels(labels, len(inputs), where)
    return inputs, labels


def array_named(name: str, arrays: Arrays, where: str, example: str) -> AnyArray:
    """One of the arrays.

    Args:
        where: the file, for the error.
        example: arguments of numpy.savez that save such arrays, for the error.

    Raises:
        UserError: there is no array of this name.
    """
    if name in arrays:
        return arrays[name]
    shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
    raise UserError(
        f"it has no array `{name}`{did_you_mean(name, arrays)}; it has {shapes or 'nothing'}",
        where,
        f"Save it with numpy.savez(path, {example})",
    )


def check_inputs(inputs: AnyArray, where: str, name: str = "inputs") -> None:
    """Raises UserError unless an array is [samples, ...] of uint8 or of floats within limits."""
    if inputs.ndim < 2 or inputs.size == 0:
        raise UserError(
            f"`{name}` has the shape {list(inputs.shape)}, which holds no samples",
            where,
            "Save [samples, channels, height, width]; a hundred samples are enough",
        )
    if inputs.dtype != np.uint8 and inputs.dtype.kind != "f":
        raise UserError(
            f"`{name}` is {inputs.dtype}",
            where,
            "Save float32 as the network wants it, or uint8 images",
        )
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        first = np.argwhere(~np.isfinite(inputs))[0]
        raise UserError(
            f"`{name}` holds NaN or infinity, first in sample {first[0]}",
            where,
            "Remove these samples: the ranges of the int8 network are measured on this data",
        )
    if inputs.dtype.kind == "f" and not np.abs(inputs).max() <= LARGEST_VALUE:
        largest = np.unravel_index(np.abs(inputs).argmax(), inputs.shape)
        raise UserError(
            f"`{name}` holds {inputs[largest]:.3g} in sample {largest[0]}; at most "
            f"{LARGEST_VALUE:.0e} is possible",
            where,
            "Remove these samples: the ranges of the int8 network are measured on this data",
        )


def check_labels(labels: AnyArray | None, samples: int, where: str) -> None:
    """Raises UserError unless labels, if any, are one index of a class per sample."""
    if labels is None:
        return
    if labels.shape != (samples,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"`labels` is {labels.dtype} {list(labels.shape)} for {samples} inputs",
            where,
            "Save one whole number per input: the index of its class",
        )
    if labels.min() < 0:
        raise UserError(
            f"`labels` holds {labels.min()}, first in sample {np.argmax(labels < 0)}",
            where,
            "A label is the index of an output, the first is 0",
        )
    if labels.max() > LARGEST_LABEL:
        raise UserError(
            f"`labels` holds {labels.max()}, first in sample {np.argmax(labels > LARGEST_LABEL)}",
            where,
            "A label is the index of an output, the first is 0",
        )
