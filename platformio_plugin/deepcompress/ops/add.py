"""Sums and differences of two tensors; both are requantized to the scale of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.broadcast import broadcast, c_loops, nest
from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Node, Quantization
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


# Of an input step, the least that may be an output step: what lies below is the inputs' own noise.
_FINEST = 1 / 128
# So that each product is below 2**22 and what they are added to, below 2**29 + 2**23, leaves room.
_MULTIPLIER_LIMIT = 2**15 - 1
_GREATEST_SHIFT = 22


@dataclass(frozen=True)
class Add(Attributes):
    """Attributes: first * a + second * b, and the shapes of a and b."""

    first: float
    second: float
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


class AddOperator(Operator[Add, IntegerNode[Add]]):
    aten = ("add", "sub", "rsub")
    in_place = True

    def read(self, call: AtenCall) -> tuple[Add, Parameters]:
        alpha = call.get("alpha", 1)
        factors = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[call.aten]
        check_shapes(call)
        return Add(*map(float, factors), call.input_shapes), {}

    def output_shape(self, attributes: Add, inputs: Sequence[Shape]) -> Shape:
        return broadcast(inputs)

    def describe(self, attributes: Add) -> str:
        return "Add" if attributes.first > 0 and attributes.second > 0 else "Subtract"

    def forward(
        self, attributes: Add, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (a, b) = inputs
        a, b = aligned(attributes.shapes, a, b)
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
        room = _MULTIPLIER_LIMIT / max(map(abs, factors))
        shift = int(np.clip(np.floor(np.log2(room)), 1, _GREATEST_SHIFT))
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
        """q = clamp((a * first + b * second + offset) >> shift), floored, in 32 bits."""
        (a, b) = inputs
        by = node.fields
        a, b = (x.astype(np.int32) for x in aligned(node.attributes.shapes, a, b))
        sums = (a * by["first"] + b * by["second"] + by["offset"]) >> by["shift"]
        return np.clip(sums, *node.clamp).astype(np.int8)

    def c_parameters(
        self,
        node: IntegerNode[Add],
        quantization: Sequence[Quantization],
        inputs: Sequence[Shape],
        output: Shape,
    ) -> dict[str, int]:
        """Fields of dc_add in include/deepcompress/kernels/add.h."""
        return c_loops(inputs)

    def macs(self, attributes: Add, weights: int, output: Shape) -> int:
        return prod(output)


def check_shapes(call: AtenCall) -> None:
    """Raises UserError where two tensors cannot be walked through by three loops."""
    if len(nest(list(call.input_shapes))) > 3:
        shapes = " and ".join(str(list(shape)) for shape in call.input_shapes)
        raise call.unsupported(
            f"{shapes} are broadcast along too many axes that alternate",
            "Reshape them, so that axes of one kind lie beside each other",
        )


def aligned(shapes: tuple[tuple[int, ...], ...], *tensors: torch.Tensor) -> list[torch.Tensor]:
    """Batches whose other axes are aligned at the last one."""
    rank = max(map(len, shapes))
    return [
        x if len(shape) == rank else x.reshape(x.shape[0], *[1] * (rank - len(shape)), *shape)
        for shape, x in zip(shapes, tensors, strict=True)
    ]
