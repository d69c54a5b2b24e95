"""Means and sums over axes, such as global average pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import choose_multipliers, requantize
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Node, Quantization, Requantize, RequantizedNode
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class Mean(Attributes):
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


class MeanOperator(Operator[Mean, RequantizedNode[Mean]]):
    aten = ("mean", "sum")

    def read(self, call: AtenCall) -> tuple[Mean, Parameters]:
        rank = call.input_rank + 1
        given = call.get("dim", None)
        given = range(rank) if given is None or given == [] else given
        axes = sorted(
            axis % rank - 1 for axis in (given if hasattr(given, "__iter__") else [given])
        )
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

    def output_shape(self, attributes: Mean, inputs: Sequence[Shape]) -> Shape:
        return attributes.shape

    def describe(self, attributes: Mean) -> str:
        return f"{'Sum' if attributes.divisor == 1 else 'Mean'} of {attributes.around()[1]}"

    def forward(
        self, attributes: Mean, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        axes = [axis + 1 for axis in attributes.axes]
        reduced = x.sum(axes) if attributes.divisor == 1 else x.mean(axes)
        return reduced.reshape(x.shape[0], *attributes.shape)

    def quantize(
        self, node: Node[Mean], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[RequantizedNode[Mean], Quantization]:
        (before,), divisor = inputs, node.attributes.divisor
        # An output step finer than the accumulator's own would only multiply its noise.
        after = affine(*observed, finest=before.scale / divisor)
        factor = np.minimum(before.scale / after.scale / divisor, 1.0)
        multiplier, shift = choose_multipliers(np.array([factor]))
        minimum, maximum = clamp_int8(node.clamp, after)
        integer = RequantizedNode(
            *node.identity,
            requantize=Requantize(shift, after.zero_point, minimum, maximum),
            clamp=(minimum, maximum),
            fields={"input_zero": before.zero_point, "multiplier": int(multiplier[0])},
        )
        return integer, after

    def integer(
        self, node: RequantizedNode[Mean], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        (x,) = inputs
        around = x.reshape(len(x), *node.attributes.around()).astype(np.int64)
        sums = (around - quantization[0].zero_point).sum(axis=2)
        requantized = requantize(sums, np.array([node.fields["multiplier"]]), node.requantize)
        return requantized.reshape(len(x), *node.attributes.shape)

    def c_parameters(
        self,
        node: RequantizedNode[Mean],
        quantization: Sequence[Quantization],
        inputs: Sequence[Shape],
        output: Shape,
    ) -> dict[str, int]:
        """Fields of dc_mean in include/deepcompress/kernels/mean.h."""
        return dict(zip(("outer", "reduced", "inner"), node.attributes.around(), strict=True))

    def macs(self, attributes: Mean, weights: int, output: Shape) -> int:
        return prod(attributes.source)
