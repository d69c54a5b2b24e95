"""Adaptive pooling to sizes that do not divide the input's: windows of different sizes overlap.

If they divide it, the layer becomes max_pool2d, avg_pool2d or mean instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, clamp_int8
from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Node, Quantization, RequantizedNode
from deepcompress.ops.avg_pool2d import mean, quantize_means
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters
from deepcompress.ops.windows import Pair, as_pair

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class AdaptivePool2d(Attributes):
    """Attributes. Pairs are (height, width).

    Attributes:
        function: "mean" or "maximum".
        size: of the input.
        pooled: of the output.
    """

    function: str
    size: Pair
    pooled: Pair

    def spans(self, axis: int) -> list[tuple[int, int]]:
        """First position and end of each window along an axis."""
        size, count = self.size[axis], self.pooled[axis]
        return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]

    def divisors(self) -> list[int]:
        """All numbers of values in a window, ascending."""
        rows, columns = ({last - first for first, last in self.spans(axis)} for axis in (0, 1))
        return sorted({row * column for row in rows for column in columns})


class AdaptivePool2dOperator(Operator[AdaptivePool2d, IntegerNode[AdaptivePool2d]]):
    aten = ("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d")
    channelwise = True

    def read(self, call: AtenCall) -> tuple[AdaptivePool2d, Parameters]:
        function = "maximum" if "max" in call.aten else "mean"
        size, pooled = as_pair(call.input_shape[1:]), as_pair(call.output_shape[1:])
        return AdaptivePool2d(function, size, pooled), {}

    def output_shape(self, a: AdaptivePool2d, inputs: Sequence[Shape]) -> Shape:
        return (inputs[0][0], *a.pooled)

    def describe(self, a: AdaptivePool2d) -> str:
        name = "AdaptiveMaxPool2d" if a.function == "maximum" else "AdaptiveAvgPool2d"
        return f"{name} {a.pooled[0]}x{a.pooled[1]}"

    def forward(
        self, a: AdaptivePool2d, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        pool = F.adaptive_max_pool2d if a.function == "maximum" else F.adaptive_avg_pool2d
        return pool(x, a.pooled)

    def quantize(
        self, node: Node[AdaptivePool2d], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[AdaptivePool2d], Quantization]:
        if node.attributes.function == "mean":
            return quantize_means(node, inputs[0], observed, node.attributes.divisors())
        clamp = clamp_int8(node.clamp, inputs[0])
        integer = IntegerNode(*node.identity, clamp=clamp)
        return integer, inputs[0]

    def integer(
        self,
        node: IntegerNode[AdaptivePool2d],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """x: int8 [batch, channels, height, width]."""
        (x,) = inputs
        a = node.attributes
        result = np.empty((*x.shape[:2], *a.pooled), np.int8)
        for i, (top, bottom) in enumerate(a.spans(0)):
            for j, (left, right) in enumerate(a.spans(1)):
                window = x[:, :, top:bottom, left:right]
                if isinstance(node, RequantizedNode):
                    value = mean(node, window, window.shape[2] * window.shape[3])
                else:
                    value = saturate(window.max(axis=(2, 3)), node.clamp)
                result[:, :, i, j] = value
        return result

    def macs(self, a: AdaptivePool2d, weights: int, output: Shape) -> int:
        rows, columns = (sum(last - first for first, last in a.spans(axis)) for axis in (0, 1))
        return output[0] * rows * columns


def as_fixed_pooling(call: AtenCall) -> AtenCall:
    """An adaptive pooling call as an equal call with windows of one size, if there is one."""
    if call.aten not in AdaptivePool2dOperator.aten:
        return call
    size, pooled = call.input_shape[1:], call.output_shape[1:]
    if "avg" in call.aten and pooled == (1, 1):
        return replace(call, aten="mean", arguments={"dim": [-2, -1]})
    if any(s % p for s, p in zip(size, pooled, strict=True)):
        return call
    kernel = [s // p for s, p in zip(size, pooled, strict=True)]
    aten = "max_pool2d" if "max" in call.aten else "avg_pool2d"
    return replace(call, aten=aten, arguments={"kernel_size": kernel, "stride": kernel})
