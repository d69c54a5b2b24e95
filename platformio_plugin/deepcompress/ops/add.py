"""Add and subtract: the sum of two tensors, each multiplied to the scale of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from deepcompress.arith.broadcast import LOOPS, broadcast, nest
from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import AnyArray, Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Node, Quantization
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall

    Batch = TypeVar("Batch", AnyArray, torch.Tensor)


# Smallest output step in input steps; a finer one would only resolve rounding noise of the inputs.
_FINEST = 1 / 128
# With it each product is below 2**22; with an offset below 2**29 + 2**23 the sum fits 32 bits.
_MULTIPLIER_LIMIT = 2**15 - 1
_LARGEST_SHIFT = 22


@dataclass(frozen=True)
class Add(Attributes):
    """Attributes of first * a + second * b.

    Attributes:
        shapes: of a and b.
    """

    first: float
    second: float
    shapes: tuple[Shape, Shape]


class AddOperator(Operator[Add, IntegerNode[Add]]):
    aten = ("add", "sub", "rsub")
    elementwise = True
    in_place = True

    def read(self, call: AtenCall) -> tuple[Add, Parameters]:
        alpha = call.get("alpha", 1)
        first, second = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[call.aten]
        return Add(float(first), float(second), broadcast_shapes(call)), {}

    def output_shape(self, attributes: Add, inputs: Sequence[Shape]) -> Shape:
        return broadcast(inputs)

    def describe(self, attributes: Add) -> str:
        return "Add" if attributes.first > 0 and attributes.second > 0 else "Subtract"

    def forward(
        self, attributes: Add, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (a, b) = inputs
        a, b = align(attributes.shapes, a, b)
        if attributes.first == 1:
            return a.add(b, alpha=attributes.second)
        return b.mul(attributes.second).add(a, alpha=attributes.first)

    def quantize(
        self, node: Node[Add], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[Add], Quantization]:
        a = node.attributes
        steps = [factor * by.scale for factor, by in zip((a.first, a.second), inputs, strict=True)]
        after = affine(*observed, finest=_FINEST * max(map(abs, steps)))
        factors = [step / after.scale for step in steps]
        headroom = _MULTIPLIER_LIMIT / max(map(abs, factors))
        shift = int(np.clip(np.floor(np.log2(headroom)), 1, _LARGEST_SHIFT))
        first, second = (round(factor * 2**shift) for factor in factors)
        offset = (after.zero_point << shift) + (1 << (shift - 1))
        offset -= first * inputs[0].zero_point + second * inputs[1].zero_point
        minimum, maximum = clamp_int8(node.clamp, after)
        integer = IntegerNode(
            *node.identity,
            clamp=(minimum, maximum),
            fields={
                "first": first,
                "second": second,
                "offset": offset,
                "shift": shift,
                "minimum": minimum,
                "maximum": maximum,
            },
        )
        return integer, after

    def integer(
        self, node: IntegerNode[Add], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """q = clamp((a * first + b * second + offset) >> shift), in 32 bits."""
        (a, b) = inputs
        by = node.fields
        first, second = (x.astype(np.int32) for x in align(node.attributes.shapes, a, b))
        sums = first * by["first"] + second * by["second"] + by["offset"]
        return saturate(sums >> by["shift"], node.clamp)

    def macs(self, attributes: Add, weights: int, output: Shape) -> int:
        return prod(output)


def broadcast_shapes(call: AtenCall) -> tuple[Shape, Shape]:
    """The shapes of the two tensors of an elementwise call.

    Raises:
        UserError: one operand is a constant, or the broadcasting needs more than three loops.
    """
    if len(call.input_shapes) != 2:
        raise call.unsupported(
            "one of its operands is a constant", "Use two tensors that depend on the input"
        )
    first, second = call.input_shapes
    if len(nest([first, second])) > len(LOOPS):
        shapes = " and ".join(str(list(shape)) for shape in call.input_shapes)
        raise call.unsupported(
            f"{shapes} are broadcast along too many alternating axes",
            "Reshape them, so that axes of one kind are next to each other",
        )
    return first, second


def align(shapes: tuple[Shape, Shape], a: Batch, b: Batch) -> tuple[Batch, Batch]:
    """The two batches with as many axes each, so that they are broadcast from the last axis.

    Args:
        shapes: of one sample of a and b.
    """
    rank = max(map(len, shapes))
    return _with_rank(rank, shapes[0], a), _with_rank(rank, shapes[1], b)


def _with_rank(rank: int, shape: Shape, batch: Batch) -> Batch:
    if len(shape) == rank:
        return batch
    return batch.reshape(batch.shape[0], *[1] * (rank - len(shape)), *shape)
