"""Means and sums over axes, global average pooling among them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import choose_multipliers, requantize
from deepcompress.ir.graph import IntegerNode, Node, Quantization, Requantize

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call

ATEN = ("mean", "sum")


@dataclass(frozen=True)
class Mean:
    """Attributes: axes (without the batch), one beside the other, what their sum is divided by,
    and the shapes of input and output."""

    axes: tuple[int, ...]
    divisor: int
    source: tuple[int, ...]
    shape: tuple[int, ...]

    def around(self) -> tuple[int, int, int]:
        """The input as [outer][reduced][inner]."""
        first, last = self.axes[0], self.axes[-1] + 1
        sizes = self.source[:first], self.source[first:last], self.source[last:]
        return tuple(prod(size) for size in sizes)


def read(call: Call) -> tuple[Mean, dict[str, np.ndarray]]:
    rank = call.input_rank + 1
    given = call.get("dim", None)
    given = range(rank) if given is None or given == [] else given
    axes = sorted(axis % rank - 1 for axis in (given if hasattr(given, "__iter__") else [given]))
    if axes[0] < 0:
        raise call.unsupported(
            f"a {call.aten} over the batch mixes samples", "Name the other axes, as dim=(2, 3)"
        )
    between = set(range(axes[0], axes[-1] + 1)) - set(axes)
    if any(call.input_shape[axis] > 1 for axis in between):
        raise call.unsupported(
            f"a {call.aten} over axes that do not lie beside each other is not supported",
            "Take it over one after the other",
        )
    axes = tuple(range(axes[0], axes[-1] + 1))
    count = prod(call.input_shape[axis] for axis in axes)
    divisor = count if call.aten == "mean" else 1
    return Mean(axes, divisor, call.input_shape, call.output_shape), {}


def output_shape(attributes: Mean, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return attributes.shape


def describe(attributes: Mean) -> str:
    return f"{'Sum' if attributes.divisor == 1 else 'Mean'} of {attributes.around()[1]}"


def forward(attributes: Mean, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    axes = [axis + 1 for axis in attributes.axes]
    reduced = x.sum(axes) if attributes.divisor == 1 else x.mean(axes)
    return reduced.reshape(x.shape[0], *attributes.shape)


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    (before,), divisor = inputs, node.attributes.divisor
    # An output step finer than the accumulator's own would only multiply its noise.
    after = affine(*observed, finest=before.scale / divisor)
    factor = np.minimum(before.scale / after.scale / divisor, 1.0)
    multiplier, shift = choose_multipliers(np.array([factor]))
    minimum, maximum = clamp_int8(node.clamp, after)
    integer = IntegerNode.of(
        node,
        requantize=Requantize(multiplier, shift, after.zero_point, minimum, maximum),
        clamp=(minimum, maximum),
        fields={"input_zero": before.zero_point, "multiplier": int(multiplier[0])},
    )
    return integer, after


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    around = x.reshape(len(x), *node.attributes.around()).astype(np.int64)
    sums = (around - quantization[0].zero_point).sum(axis=2)
    return requantize(sums, node.requantize).reshape(len(x), *node.attributes.shape)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_mean in include/deepcompress/kernels/mean.h."""
    return dict(zip(("outer", "reduced", "inner"), node.attributes.around(), strict=True))


def macs(attributes: Mean, weights: int, output: tuple[int, ...]) -> int:
    return prod(attributes.source)
