"""Products of two tensors, value by value."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.broadcast import broadcast, c_loops
from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.ir.graph import IntegerNode, Node, Quantization
from deepcompress.ops.add import aligned, check_shapes

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call

ATEN = ("mul", "div")

IN_PLACE = True

# Of the product of two input steps, the least that may be an output step.
_FINEST = 1 / 64
# |a - zero_point| * |b - zero_point| <= 255**2 < 2**16, so that the scaled product is below 2**30.
_MULTIPLIER_LIMIT = 2**14 - 1
# So that the offset is below 2**29 + 2**21.
_GREATEST_SHIFT = 22


@dataclass(frozen=True)
class Mul:
    """Attributes: the shapes of the factors."""

    shapes: tuple[tuple[int, ...], tuple[int, ...]]


def read(call: Call) -> tuple[Mul, dict[str, np.ndarray]]:
    if call.aten == "div":
        raise call.unsupported(
            "a division of two tensors is not supported", "Multiply by torch.reciprocal(x)"
        )
    check_shapes(call)
    return Mul(call.input_shapes), {}


def output_shape(attributes: Mul, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return broadcast(inputs)


def describe(attributes: Mul) -> str:
    return "Multiply"


def forward(attributes: Mul, parameters: dict, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = aligned(attributes.shapes, a, b)
    return a * b


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    step = inputs[0].scale * inputs[1].scale
    after = affine(*observed, finest=_FINEST * step)
    room = _MULTIPLIER_LIMIT / (step / after.scale)
    shift = int(np.clip(np.floor(np.log2(room)), 1, _GREATEST_SHIFT))
    minimum, maximum = clamp_int8(node.clamp, after)
    integer = IntegerNode.of(
        node,
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
    node: IntegerNode, quantization: list[Quantization], a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """q = clamp(((a - first_zero) * (b - second_zero) * multiplier + offset) >> shift), floored."""
    by = node.fields
    a, b = (x.astype(np.int32) for x in aligned(node.attributes.shapes, a, b))
    products = (a - by["first_zero"]) * (b - by["second_zero"]) * by["multiplier"]
    return np.clip((products + by["offset"]) >> by["shift"], *node.clamp).astype(np.int8)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_mul in include/deepcompress/kernels/mul.h."""
    return c_loops(inputs)


def macs(attributes: Mul, weights: int, output: tuple[int, ...]) -> int:
    return prod(output)
