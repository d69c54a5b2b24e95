"""Means and sums over axes, including global average pooling."""

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
    """Attributes.

    Attributes:
        axes: neighbouring axes that are reduced, counted without the batch.
        divisor: of the sum; 1 for a sum.
        source, shape: of the input and the output.
    """

    axes: tuple[int, ...]
    divisor: int
    source: tuple[int, ...]
    shape: tuple[int, ...]

    def around(self) -> tuple[int, int, int]:
        """Sizes of the input as [outer][reduced][inner]."""
        first, end = self.axes[0], self.axes[-1] + 1
        return prod(self.source[:first]), prod(self.source[first:end]), prod(self.source[end:])


class MeanOperator(Operator[Mean, RequantizedNode[Mean]]):
    aten = ("mean", "sum")

    def read(self, call: AtenCall) -> tuple[Mean, Parameters]:
        first, end = _reduced_axes(call)
        if first < 0:
            raise call.unsupported(
                f"a {call.aten} over the batch mixes samples", "Name the other axes, as dim=(2, 3)"
            )
        axes = tuple(range(first, end))
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
        # A finer output step would only resolve rounding noise of the input.
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

    def macs(self, attributes: Mean, weights: int, output: Shape) -> int:
        return prod(attributes.source)


def _reduced_axes(call: AtenCall) -> tuple[int, int]:
    """The first reduced axis and the end, counted without the batch; the batch is axis -1.

    Raises:
        UserError: the axes are not neighbours.
    """
    rank = call.input_rank + 1
    dims = call.get("dim", None)
    if dims is None or dims == []:
        return -1, rank - 1
    axes = {dim % rank - 1 for dim in (dims if isinstance(dims, (list, tuple)) else [dims])}
    first, end = min(axes), max(axes) + 1
    if first >= 0 and any(call.input_shape[axis] > 1 for axis in set(range(first, end)) - axes):
        raise call.unsupported(
            f"a {call.aten} over axes that are not neighbours is not supported",
            "Compute it over one axis after the other",
        )
    return first, end
