"""Selects values by constant indices, x[:, [2, 0, 1]]: a few strided copies that are concatenated.

Indices along one axis are split into arithmetic sequences. Each sequence is one rearrangement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.ops.rearrange import MOST_LOOPS, Rearrange, merged

if TYPE_CHECKING:
    from deepcompress.ir.arrays import IntArray
    from deepcompress.ir.aten_call import AtenCall

# aten ops that select values of their first argument by tensors of indices.
SELECTIONS = ("index", "index_select", "gather")

_MOST_PARTS = 32
_DO = (
    "Select few ranges, such as x[:, 2:5] or x[:, [4, 3, 2]], or multiply by a constant matrix "
    "with nn.Linear"
)


@dataclass(frozen=True)
class Selection:
    """Parts of a tensor that are concatenated along an axis, which is counted without the batch."""

    parts: tuple[Rearrange, ...]
    axis: int


def read_selection(call: AtenCall) -> Selection:
    """How a call with constant indices selects values.

    Raises:
        UserError: it selects among samples, or in too many parts.
    """
    indices = {name: array.astype(np.int64) for name, array in call.constants.items()}
    selected = _selected(call, indices)
    title = call.aten.replace("_", " ")
    values = prod(call.input_shape)
    for axis in range(selected.ndim):
        parts = [_rearrange(title, values, part) for part in _sequences(selected, axis)]
        if all(parts) and len(parts) <= _MOST_PARTS:
            return Selection(tuple(filter(None, parts)), axis)
    raise call.unsupported("its indices follow no regular pattern", _DO)


def _selected(call: AtenCall, indices: Mapping[str, IntArray]) -> IntArray:
    """The flat index in the input of each output value, in the output's shape."""
    places = np.arange(prod(call.input_shape)).reshape(call.input_shape)
    if call.aten == "index":
        given = [indices.get(f"indices.{i}", slice(None)) for i in range(len(call["indices"]))]
        if not isinstance(given[0], slice):
            raise call.unsupported("it selects samples", "Leave the first axis as it is")
        return np.asarray(places[tuple(given[1:])]).reshape(call.output_shape)
    axis = int(call["dim"]) % (call.input_rank + 1) - 1
    if axis < 0:
        raise call.unsupported("it selects samples", "Leave the first axis as it is")
    index = indices["index"]
    if call.aten == "gather":
        inside = tuple(slice(0, size) for size in call.output_shape)
        inside = (*inside[:axis], slice(None), *inside[axis + 1 :])
        return np.take_along_axis(places[inside], index[0], axis)
    return np.take(places, index.reshape(-1), axis)


def _sequences(selected: IntArray, axis: int) -> Iterator[IntArray]:
    """The longest parts along an axis whose places follow each other at one distance."""
    lines = np.moveaxis(selected, axis, 0).reshape(selected.shape[axis], -1)
    start = 0
    while start < len(lines):
        end = start + 1
        while end < len(lines) and (
            end == start + 1
            or np.array_equal(lines[end] - lines[end - 1], lines[start + 1] - lines[start])
        ):
            end += 1
        yield selected.take(range(start, end), axis)
        start = end


def _rearrange(title: str, values: int, part: IntArray) -> Rearrange | None:
    """The rearrangement that selects these places; None if they are at no fixed distances."""
    first = part[(0,) * part.ndim]
    loops = []
    for axis, size in enumerate(part.shape):
        second = part[tuple(int(other == axis and size > 1) for other in range(part.ndim))]
        loops.append((size, int(second - first)))
    steps = np.array([step for _, step in loops])
    regular = first + np.tensordot(steps, np.indices(part.shape), 1)
    compact = merged(loops)
    if not np.array_equal(part, regular) or len(compact) > MOST_LOOPS:
        return None
    return Rearrange(title, values, int(first), compact, part.shape)
