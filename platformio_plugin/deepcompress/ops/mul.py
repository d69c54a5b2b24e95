"""The elementwise product of two tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.broadcast import broadcast
from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Node, Quantization
from deepcompress.ops.add import align, broadcast_shapes
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


# Smallest output step in products of two input steps.
_FINEST = 1 / 64
# |a - zero_point| * |b - zero_point| <= 255**2 < 2**16, so that the scaled product is below 2**30.
_MULTIPLIER_LIMIT = 2**14 - 1
# With it the offset is below 2**29 + 2**21.
_LARGEST_SHIFT = 22


@dataclass(frozen=True)
class Mul(Attributes):
    """Attributes: the shapes of the factors."""

    shapes: tuple[Shape, Shape]


class MulOperator(Operator[Mul, IntegerNode[Mul]]):
    aten = ("mul", "div")
    elementwise = True
    in_place = True

    def read(self, call: AtenCall) -> tuple[Mul, Parameters]:
        if call.aten == "div":
            raise call.unsupported(
                "a division of two tensors is not supported", "Multiply by torch.reciprocal(x)"
            )
        return Mul(broadcast_shapes(call)), {}

    def output_shape(self, attributes: Mul, inputs: Sequence[Shape]) -> Shape:
        return broadcast(inputs)

    def describe(self, attributes: Mul) -> str:
        return "Multiply"

    def forward(
        self, attributes: Mul, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (a, b) = inputs
        a, b = align(attributes.shapes, a, b)
        return a * b

    def quantize(
        self, node: Node[Mul], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[Mul], Quantization]:
        step = inputs[0].scale * inputs[1].scale
        after = affine(*observed, finest=_FINEST * step)
        headroom = _MULTIPLIER_LIMIT / (step / after.scale)
        shift = int(np.clip(np.floor(np.log2(headroom)), 1, _LARGEST_SHIFT))
        minimum, maximum = clamp_int8(node.clamp, after)
        integer = IntegerNode(
            *node.identity,
            clamp=(minimum, maximum),
            fields={
                "first_zero": inputs[0].zero_point,
                "second_zero": inputs[1].zero_point,
                "multiplier": round(step / after.scale * 2**shift),
                "offset": (after.zero_point << shift) + (1 << (shift - 1)),
                "shift": shift,
                "minimum": minimum,
                "maximum": maximum,
            },
        )
        return integer, after

    def integer(
        self, node: IntegerNode[Mul], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """q = clamp(((a - first_zero) * (b - second_zero) * multiplier + offset) >> shift)."""
        (a, b) = inputs
        by = node.fields
        first, second = (x.astype(np.int32) for x in align(node.attributes.shapes, a, b))
        products = (first - by["first_zero"]) * (second - by["second_zero"]) * by["multiplier"]
        return saturate((products + by["offset"]) >> by["shift"], node.clamp)

    def macs(self, attributes: Mul, weights: int, output: Shape) -> int:
        return prod(output)
