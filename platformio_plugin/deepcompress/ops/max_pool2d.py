"""MaxPool2d. After a convolution, operator fusion merges it into the convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import Int8Array, IntArray
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Quantization
from deepcompress.ops.operator import Parameters, ScaleKeepingOperator, Shape, TorchParameters
from deepcompress.ops.windows import (
    Pair,
    as_pair,
    count_windows,
    extent_of,
    read_windows,
)

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class MaxPool2d(Attributes):
    """Attributes. Pairs are (height, width).

    Attributes:
        padding: rows and columns on each side.
        ceil: a last window that starts inside the input may end outside, after the padding.
    """

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False

    @property
    def extent(self) -> Pair:
        """Rows and columns that a window covers."""
        return extent_of(self.kernel, self.dilation)

    def pooled(self, height: int, width: int) -> Pair:
        """Height and width of the output."""
        axes = zip((height, width), self.extent, self.stride, self.padding, strict=True)
        return as_pair([count_windows(*axis, ceil=self.ceil) for axis in axes])


class MaxPool2dOperator(ScaleKeepingOperator[MaxPool2d]):
    aten = ("max_pool2d", "max_pool2d_with_indices")
    channelwise = True

    def read(self, call: AtenCall) -> tuple[MaxPool2d, Parameters]:
        attributes = MaxPool2d(*read_windows(call), call.pair("dilation", 1))
        if attributes.pooled(*call.input_shape[1:]) != call.output_shape[1:]:
            attributes = MaxPool2d(*read_windows(call), call.pair("dilation", 1), ceil=True)
        return attributes, {}

    def output_shape(self, attributes: MaxPool2d, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = inputs[0]
        return (channels, *attributes.pooled(height, width))

    def describe(self, attributes: MaxPool2d) -> str:
        return f"MaxPool2d {attributes.kernel[0]}x{attributes.kernel[1]}"

    def forward(
        self, a: MaxPool2d, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        return F.max_pool2d(x, a.kernel, a.stride, a.padding, a.dilation, a.ceil)

    def integer(
        self, node: IntegerNode[MaxPool2d], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """x: int8 [batch, channels, height, width]; padded positions are -128."""
        (x,) = inputs
        a = node.attributes
        sides = zip(a.padding, a.stride, strict=True)
        around = [(pad, pad + stride - 1 if a.ceil else pad) for pad, stride in sides]
        padded = np.pad(x, ((0, 0), (0, 0), *around), constant_values=-128)
        height, width = a.pooled(*x.shape[2:])
        return saturate(pool_maximum(a, padded)[:, :, :height, :width], node.clamp)


def pool_maximum(pool: MaxPool2d, x: IntArray) -> IntArray:
    """The maximum of each window.

    Args:
        x: integers [batch, channels, height, width], already padded.
    """
    views = np.lib.stride_tricks.sliding_window_view(x, pool.extent, axis=(2, 3))
    views = views[:, :, :: pool.stride[0], :: pool.stride[1]]
    maximum: IntArray = views[..., :: pool.dilation[0], :: pool.dilation[1]].max(axis=(4, 5))
    return maximum
