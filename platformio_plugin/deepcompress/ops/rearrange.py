"""Permutations, slices, flips, pixel shuffles, repetitions, nearest upsampling: strided copies.

Each is a strided view of the input in numpy: nested loops of a size and a step. If the view is
contiguous, such as a slice of the first axis, nothing is copied at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.ir.arrays import Int8Array, Int64Array, IntArray
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Quantization
from deepcompress.ops.operator import Parameters, ScaleKeepingOperator, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall

SPLITS = ("split", "split_with_sizes", "chunk", "unbind")


MOST_LOOPS = 5

Loops = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Rearrange(Attributes):
    """Attributes.

    Attributes:
        title: name of the operation in PyTorch.
        values: number of values of the input.
        offset: index in the input of the first output value.
        loops: size and step in the input, the outermost first, without loops of size 1. A step is
            negative where the order is reversed.
        shape: of the output.
    """

    title: str
    values: int
    offset: int
    loops: Loops
    shape: tuple[int, ...]

    def source_indices(self) -> Int64Array:
        """The flat index in the input of each output value, int64 [values of the output]."""
        indices = np.array([self.offset])
        for size, step in self.loops:
            indices = (indices[:, None] + step * np.arange(size)).ravel()
        return indices


def _read_strided(call: AtenCall) -> Rearrange:
    """The call that `forward` becomes when a graph is exported again."""
    loops = merged(zip(call["size"][1:], call["stride"][1:], strict=True))
    values = prod(call.input_shape)
    return Rearrange("as_strided", values, call["storage_offset"], loops, call.output_shape)


def merged(loops: Iterable[tuple[int, int]]) -> Loops:
    """Loops of (size, step) without those of size 1; adjacent loops are merged if they can be."""
    merged: list[tuple[int, int]] = []
    for size, step in loops:
        if size == 1:
            continue
        if merged and merged[-1][1] == size * step:
            merged[-1] = (merged[-1][0] * size, step)
        else:
            merged.append((size, step))
    return tuple(merged)


def _axis(call: AtenCall, argument: str = "dim") -> int:
    """An axis, counted without the batch.

    Raises:
        UserError: it is the batch.
    """
    axis = int(call.get(argument, 0)) % (call.input_rank + 1) - 1
    if axis < 0:
        raise call.unsupported("it separates samples", "Leave the first axis as it is")
    return axis


def _permute(call: AtenCall, x: IntArray) -> IntArray:
    rank = call.input_rank + 1
    dims = [dim % rank for dim in call["dims"]]
    if dims[0] != 0:
        raise call.unsupported("it moves the batch", "Leave the first axis where it is")
    return np.transpose(x, [dim - 1 for dim in dims[1:]])


def _transpose(call: AtenCall, x: IntArray) -> IntArray:
    return np.swapaxes(x, _axis(call, "dim0"), _axis(call, "dim1"))


def _flip(call: AtenCall, x: IntArray) -> IntArray:
    rank = call.input_rank + 1
    axes = tuple(int(dim) % rank - 1 for dim in call["dims"])
    if -1 in axes:
        raise call.unsupported("it reverses the samples", "Leave the first axis as it is")
    return np.flip(x, axes)


def _part(x: IntArray, axis: int, part: slice | int) -> IntArray:
    view: IntArray = x[(slice(None),) * axis + (part,)]
    return view


def _slice(call: AtenCall, x: IntArray) -> IntArray:
    start, end, step = (call.get(key, None) for key in ("start", "end", "step"))
    if call.get("dim", 0) == 0 and not start and (end is None or end > 2**31) and step in (None, 1):
        return x
    return _part(x, _axis(call), slice(start, end, step))


def _narrow(call: AtenCall, x: IntArray) -> IntArray:
    return _part(x, _axis(call), slice(call["start"], call["start"] + call["length"]))


def _select(call: AtenCall, x: IntArray) -> IntArray:
    return _part(x, _axis(call), call["index"])


def _split(call: AtenCall, x: IntArray) -> IntArray:
    """Result number `item` of a split."""
    axis, item = _axis(call), call["item"]
    size = x.shape[axis]
    if call.aten == "unbind":
        return _part(x, axis, item)
    if call.aten == "chunk":
        widths = [-(-size // call["chunks"])] * call["chunks"]
    else:
        widths = call["split_sizes" if call.aten == "split_with_sizes" else "split_size"]
        widths = widths if isinstance(widths, (list, tuple)) else [widths] * -(-size // widths)
    ends = list(accumulate(widths))
    return _part(x, axis, slice(ends[item] - widths[item], min(ends[item], size)))


def _pixel_shuffle(call: AtenCall, x: IntArray) -> IntArray:
    channels, height, width = x.shape
    by = call["upscale_factor"]
    blocks = x.reshape(channels // by**2, by, by, height, width)
    return np.transpose(blocks, (0, 3, 1, 4, 2))


def _pixel_unshuffle(call: AtenCall, x: IntArray) -> IntArray:
    channels, height, width = x.shape
    by = call["downscale_factor"]
    blocks = x.reshape(channels, height // by, by, width // by, by)
    return np.transpose(blocks, (0, 2, 4, 1, 3))


def _channel_shuffle(call: AtenCall, x: IntArray) -> IntArray:
    grouped = x.reshape(call["groups"], x.shape[0] // call["groups"], -1)
    return np.swapaxes(grouped, 0, 1)


def _upsample_nearest(call: AtenCall, x: IntArray) -> IntArray:
    (channels, *sizes), output = x.shape, call.output_shape[1:]
    if any(after % before for before, after in zip(sizes, output, strict=True)):
        raise call.unsupported(
            f"nearest upsampling from {sizes} to {list(output)} is not by a whole number",
            "Use scale_factor=2, 3, ...",
        )
    factors = [after // before for before, after in zip(sizes, output, strict=True)]
    separate = x.reshape(channels, *(n for size in sizes for n in (size, 1)))
    repeated = (n for pair in zip(sizes, factors, strict=True) for n in pair)
    return np.broadcast_to(separate, (channels, *repeated))


def _expand(call: AtenCall, x: IntArray) -> IntArray:
    return np.broadcast_to(x, call.output_shape)


def _repeat(call: AtenCall, x: IntArray) -> IntArray:
    times = call["repeats"]
    if times[0] != 1:
        raise call.unsupported("it repeats samples", "Leave the first axis as it is")
    sizes = (1,) * (len(times) - 1 - x.ndim) + x.shape
    separate = x.reshape([n for size in sizes for n in (1, size)])
    repeated = [n for pair in zip(times[1:], sizes, strict=True) for n in pair]
    return np.broadcast_to(separate, repeated)


# How each operation views an array of the input's shape, without the batch.
_VIEWS: dict[str, Callable[[AtenCall, IntArray], IntArray]] = {
    "permute": _permute,
    "transpose": _transpose,
    "slice": _slice,
    "narrow": _narrow,
    "flip": _flip,
    "select": _select,
    **dict.fromkeys(SPLITS, _split),
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "native_channel_shuffle": _channel_shuffle,
    "upsample_nearest1d": _upsample_nearest,
    "upsample_nearest2d": _upsample_nearest,
    "_upsample_nearest_exact1d": _upsample_nearest,
    "_upsample_nearest_exact2d": _upsample_nearest,
    "expand": _expand,
    "repeat": _repeat,
}


class RearrangeOperator(ScaleKeepingOperator[Rearrange]):
    only_moves = True
    aten = (*_VIEWS, "as_strided")

    def read(self, call: AtenCall) -> tuple[Rearrange, Parameters]:
        if call.aten == "as_strided":
            return _read_strided(call), {}
        shape = call.input_shape
        moved = _VIEWS[call.aten](call, np.arange(prod(shape), dtype=np.int32).reshape(shape))
        loops = merged(
            zip(moved.shape, (step // moved.itemsize for step in moved.strides), strict=True)
        )
        if len(loops) > MOST_LOOPS:
            raise call.unsupported("it moves too many axes at once", "Do it in two steps")
        title = call.aten.strip("_")
        return Rearrange(title, prod(shape), int(moved.flat[0]), loops, call.output_shape), {}

    def output_shape(self, attributes: Rearrange, inputs: Sequence[Shape]) -> Shape:
        return attributes.shape

    def describe(self, attributes: Rearrange) -> str:
        return attributes.title.replace("_", " ").capitalize()

    def changes_nothing(self, attributes: Rearrange, parameters: Parameters) -> bool:
        """Whether all values keep their order."""
        return attributes.values == prod(attributes.shape) and self.view(attributes, ()) is not None

    def view(self, attributes: Rearrange, source: tuple[int, ...]) -> int | None:
        contiguous = all(step == 1 for _, step in attributes.loops) and len(attributes.loops) <= 1
        return attributes.offset if contiguous else None

    def forward(
        self, a: Rearrange, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        import torch

        (x,) = inputs
        # Only a new, contiguous tensor has known strides.
        flat = x.reshape(x.shape[0], -1).clone(memory_format=torch.contiguous_format)
        sizes, steps = zip(*a.loops, strict=True) if a.loops else ((), ())
        # Torch has no negative strides: these axes are read forwards from their end, then flipped.
        start = a.offset + sum((size - 1) * min(step, 0) for size, step in a.loops)
        strides = (a.values, *(abs(step) for step in steps))
        moved = flat.as_strided((x.shape[0], *sizes), strides, start)
        backwards = [axis for axis, step in enumerate(steps, start=1) if step < 0]
        if backwards:
            moved = moved.flip(backwards)
        # A copy, too: the operator that reads it may ask for strides, which depend on the batch.
        return moved.clone(memory_format=torch.contiguous_format).reshape(x.shape[0], *a.shape)

    def integer(
        self, node: IntegerNode[Rearrange], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        (x,) = inputs
        a = node.attributes
        return x.reshape(len(x), -1)[:, a.source_indices()].reshape(len(x), *a.shape)
