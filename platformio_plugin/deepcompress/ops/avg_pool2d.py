"""AvgPool2d, and adaptive average pooling if the output size divides the input size.

A mean is a sum that is multiplied by a requantize multiplier which includes the divisor. Windows
that extend over the border have other divisors, so there is a table of multipliers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import choose_multipliers, requantize
from deepcompress.ir.arrays import Int8Array, frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, Node, Quantization, Requantize, RequantizedNode
from deepcompress.ops.operator import A, Operator, Parameters, Shape, TorchParameters
from deepcompress.ops.windows import Pair, as_pair, count_windows, read_windows

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class AvgPool2d(Attributes):
    """Attributes. Pairs are (height, width).

    Attributes:
        size: of the input.
        padding: rows and columns on each side.
        ceil: a last window that starts inside the input may end outside, after the padding.
        count_padding: whether padded positions count in the divisor.
        divisor: of all windows, or 0 to divide each by its number of values.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    ceil: bool = False
    count_padding: bool = False
    divisor: int = 0

    def spans(self, axis: int) -> list[tuple[int, int, int]]:
        """For each window along an axis: its first position, its end, and its count of positions.

        First and end are inside the input; the count includes padding if `count_padding`.
        """
        size, kernel = self.size[axis], self.kernel[axis]
        stride, pad = self.stride[axis], self.padding[axis]
        spans = []
        for i in range(count_windows(size, kernel, stride, pad, ceil=self.ceil)):
            first, last = i * stride - pad, min(i * stride - pad + kernel, size + pad)
            inside = max(first, 0), min(last, size)
            count = last - first if self.count_padding else inside[1] - inside[0]
            spans.append((*inside, count))
        return spans

    def divisors(self) -> list[int]:
        """All divisors that occur, ascending."""
        if self.divisor:
            return [self.divisor]
        rows, columns = ({count for *_, count in self.spans(axis)} for axis in (0, 1))
        return sorted({row * column for row in rows for column in columns})


class AvgPool2dOperator(Operator[AvgPool2d, RequantizedNode[AvgPool2d]]):
    aten = ("avg_pool2d",)
    channelwise = True

    def read(self, call: AtenCall) -> tuple[AvgPool2d, Parameters]:
        size, windows = as_pair(call.input_shape[1:]), read_windows(call)
        count_padding = call.get("count_include_pad", True) and any(windows[2])
        attributes = AvgPool2d(
            size,
            *windows,
            ceil=bool(call.get("ceil_mode", False)),
            count_padding=bool(count_padding),
            divisor=call.get("divisor_override", None) or 0,
        )
        if attributes.divisor < 0:
            raise call.unsupported("its divisor is below 0", "Divide by a number above 0")
        return attributes, {}

    def output_shape(self, attributes: AvgPool2d, inputs: Sequence[Shape]) -> Shape:
        return (inputs[0][0], *(len(attributes.spans(axis)) for axis in (0, 1)))

    def describe(self, attributes: AvgPool2d) -> str:
        return f"AvgPool2d {attributes.kernel[0]}x{attributes.kernel[1]}"

    def forward(
        self, a: AvgPool2d, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        return F.avg_pool2d(
            x, a.kernel, a.stride, a.padding, a.ceil, a.count_padding, a.divisor or None
        )

    def quantize(
        self, node: Node[AvgPool2d], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[RequantizedNode[AvgPool2d], Quantization]:
        return quantize_means(node, inputs[0], observed, node.attributes.divisors())

    def integer(
        self,
        node: RequantizedNode[AvgPool2d],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """x: int8 [batch, channels, height, width]."""
        (x,) = inputs
        a = node.attributes
        rows, columns = a.spans(0), a.spans(1)
        result = np.empty((*x.shape[:2], len(rows), len(columns)), np.int8)
        for i, (top, bottom, height) in enumerate(rows):
            for j, (left, right, width) in enumerate(columns):
                window = x[:, :, top:bottom, left:right]
                result[:, :, i, j] = mean(node, window, a.divisor or height * width)
        return result

    def macs(self, attributes: AvgPool2d, weights: int, output: Shape) -> int:
        return int(np.prod(output)) * attributes.kernel[0] * attributes.kernel[1]


def quantize_means(
    node: Node[A], before: Quantization, observed: Range, divisors: list[int]
) -> tuple[RequantizedNode[A], Quantization]:
    """A pooling node with a table of multipliers, from the smallest divisor to the largest.

    Args:
        divisors: all that occur, ascending.
    """
    # A finer output step would only resolve rounding noise of the input.
    after = affine(*observed, finest=before.scale / divisors[0])
    counts = np.arange(divisors[0], divisors[-1] + 1)
    multiplier, shift = choose_multipliers(np.minimum(before.scale / after.scale / counts, 1.0))
    minimum, maximum = clamp_int8(node.clamp, after)
    integer = RequantizedNode(
        *node.identity,
        requantize=Requantize(shift, after.zero_point, minimum, maximum),
        clamp=(minimum, maximum),
        fields={"input_zero": before.zero_point, "least": divisors[0]},
        tables=(Array("multiplier", frozen(multiplier), "one per divisor, in ascending order"),),
    )
    return integer, after


def mean(node: RequantizedNode[A], window: Int8Array, divisor: int) -> Int8Array:
    """The mean of a window [batch, channels, height, width]: int8 [batch, channels]."""
    sums = (window.astype(np.int64) - node.fields["input_zero"]).sum(axis=(2, 3))
    multiplier = node.table("multiplier")[[divisor - node.fields["least"]]]
    return requantize(sums, multiplier, node.requantize)
