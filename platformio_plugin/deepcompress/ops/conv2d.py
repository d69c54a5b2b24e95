"""Conv2d: any kernel, stride, zero padding, dilation, groups; max-pooling may be fused into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.requantize import requantize
from deepcompress.errors import UserError
from deepcompress.ir.arrays import Int8Array, Int64Array, IntArray
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Quantization, WeightedNode
from deepcompress.ops.max_pool2d import MaxPool2d, pool_maximum
from deepcompress.ops.operator import Parameters, Shape, TorchParameters, WeightedOperator
from deepcompress.ops.windows import Pair, as_pair, extent_of

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class Conv2d(Attributes):
    """Attributes. Pairs are (height, width).

    The parameter `weight` is [out_channels, in_channels / groups, *kernel].

    Attributes:
        padding: zeros at (top, left, bottom, right).
        pool: max-pooling of the output, if it is fused into the convolution.
    """

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pool: MaxPool2d | None = None

    @property
    def extent(self) -> Pair:
        """Rows and columns of input that one output depends on."""
        return extent_of(self.kernel, self.dilation)

    @property
    def is_pointwise(self) -> bool:
        """Whether each output depends on the inputs at its own position only."""
        plain = self.kernel == (1, 1) == self.stride and not any(self.padding)
        return plain and self.pool is None

    def convolved(self, height: int, width: int) -> Pair:
        """Height and width of the output before pooling."""
        top, left, bottom, right = self.padding
        return (
            (height + top + bottom - self.extent[0]) // self.stride[0] + 1,
            (width + left + right - self.extent[1]) // self.stride[1] + 1,
        )


class Conv2dOperator(WeightedOperator[Conv2d]):
    aten = ("conv2d", "convolution", "_convolution_mode")
    rows_are_channels = True
    has_columns = True

    def read(self, call: AtenCall) -> tuple[Conv2d, Parameters]:
        weight, bias = call.constant("weight"), call.optional_constant("bias")
        if (
            weight.ndim != 4
            or any(call.get("output_padding", [0]))
            or call.get("transposed", False)
        ):
            raise call.unsupported(
                "only two-dimensional convolutions are supported", "Use nn.Conv2d here"
            )
        kernel = as_pair(weight.shape[2:])
        attributes = Conv2d(
            in_channels=weight.shape[1] * call["groups"],
            out_channels=weight.shape[0],
            kernel=kernel,
            stride=call.pair("stride"),
            padding=_padding(call, kernel, call.pair("dilation")),
            dilation=call.pair("dilation"),
            groups=call["groups"],
        )
        if bias is None:
            bias = np.zeros(weight.shape[0], np.float32)
        return attributes, {"weight": weight, "bias": bias}

    def output_shape(self, attributes: Conv2d, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = inputs[0]
        if channels != attributes.in_channels:
            raise UserError(
                f"{channels} channels reach a convolution of {attributes.in_channels}",
                "the model",
                "Check the layer before it",
            )
        convolved = attributes.convolved(height, width)
        if attributes.pool:
            convolved = attributes.pool.pooled(*convolved)
        return (attributes.out_channels, *convolved)

    def describe(self, a: Conv2d) -> str:
        text = f"Conv2d {a.in_channels}->{a.out_channels} {a.kernel[0]}x{a.kernel[1]}"
        if a.stride != (1, 1):
            text += (
                f" /{a.stride[0]}"
                if a.stride[0] == a.stride[1]
                else f" /{a.stride[0]}x{a.stride[1]}"
            )
        if a.groups > 1:
            text += f" g{a.groups}"
        return text + (f" + max {a.pool.kernel[0]}x{a.pool.kernel[1]}" if a.pool else "")

    def forward(
        self, a: Conv2d, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        import torch.nn.functional as F

        (x,) = inputs

        top, left, bottom, right = a.padding
        padding: tuple[int, int] | str = (top, left)
        if a.padding == _same_padding(a.kernel, a.dilation) and a.stride == (1, 1):
            padding = "same"
        elif padding != (bottom, right):
            x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
        weight, bias = parameters["weight"], parameters["bias"]
        y = F.conv2d(x, weight, bias, a.stride, padding, a.dilation, a.groups)
        return F.max_pool2d(y, a.pool.kernel, a.pool.stride) if a.pool else y

    def columns(self, a: Conv2d, *values: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        top, left, bottom, right = a.padding
        padded = F.pad(values[0], (left, right, top, bottom))
        windows = F.unfold(padded, a.kernel, a.dilation, 0, a.stride)
        by_group = windows.reshape(len(windows), a.groups, -1, windows.shape[2])
        return by_group.permute(1, 0, 3, 2).flatten(1, 2)

    def integer(
        self, node: WeightedNode[Conv2d], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """x: int8 [batch, channels, height, width]. Pooling compares accumulators."""
        (x,) = inputs
        sums = convolve(node.attributes, x, node.weight, quantization[0].zero_point)
        accumulator: IntArray = sums + node.bias[:, None, None]
        if node.attributes.pool:
            accumulator = pool_maximum(node.attributes.pool, accumulator)
        return requantize(accumulator, node.multiplier, node.requantize)

    def macs(self, attributes: Conv2d, weights: int, output: Shape) -> int:
        positions = output[1] * output[2]
        if attributes.pool:
            positions *= attributes.pool.kernel[0] * attributes.pool.kernel[1]
        return weights * positions


def _padding(call: AtenCall, kernel: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    """(top, left, bottom, right). With "same", an odd row or column is at the bottom or right."""
    padding = call["padding"]
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        return _same_padding(kernel, dilation)
    return call.pair("padding") * 2


def _same_padding(kernel: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    total = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    top, left = total[0] // 2, total[1] // 2
    return (top, left, total[0] - top, total[1] - left)


def convolve(a: Conv2d, x: Int8Array, weight: Int8Array, pad_value: int) -> Int64Array:
    """Sums of products, without pooling.

    BLAS sums the products in float64, which is exact: every partial sum is an integer below 2**31.

    Args:
        x: int8 [batch, in_channels, height, width].
        weight: int8 [out_channels, weights per channel].

    Returns:
        int64 [batch, out_channels, height, width].
    """
    top, left, bottom, right = a.padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=pad_value)
    windows = np.lib.stride_tricks.sliding_window_view(x, a.extent, axis=(2, 3))
    windows = windows[:, :, :: a.stride[0], :: a.stride[1], :: a.dilation[0], :: a.dilation[1]]
    batch, _, height, width = windows.shape[:4]
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(batch * height * width, a.groups, -1)
    kernels = weight.reshape(a.groups, a.out_channels // a.groups, -1).astype(np.float64)
    sums = np.matmul(columns.transpose(1, 0, 2).astype(np.float64), kernels.transpose(0, 2, 1))
    sums = sums.transpose(1, 0, 2).reshape(batch, height, width, a.out_channels)
    channels_first: Int64Array = sums.transpose(0, 3, 1, 2).astype(np.int64)
    return channels_first
