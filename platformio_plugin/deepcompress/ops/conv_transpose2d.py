"""ConvTranspose2d: each input value adds a scaled kernel to the output, at the stride's distance.

The kernel in C adds the products of one weight after another to the accumulators of an output
channel. So it multiplies neither by the zeros that a stride inserts between inputs, nor by weights
of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.narrow_constants import unfolded_bias
from deepcompress.arith.requantize import requantize
from deepcompress.errors import UserError
from deepcompress.ir.arrays import Float32Array, Float64Array, Int8Array, frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Quantization, WeightedNode
from deepcompress.ops.operator import Parameters, Shape, TorchParameters, WeightedOperator
from deepcompress.ops.windows import Pair, as_pair, extent_of

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class ConvTranspose2d(Attributes):
    """Attributes, as in PyTorch. Pairs are (height, width).

    The parameter `weight` is [out_channels, in_channels / groups, *kernel], as for Conv2d.
    """

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    output_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def extent(self) -> Pair:
        """Rows and columns of output that one input contributes to."""
        return extent_of(self.kernel, self.dilation)

    def plane(self, height: int, width: int) -> Pair:
        """Height and width of the output before the padding is removed."""
        sizes = zip((height, width), self.stride, self.extent, self.output_padding, strict=True)
        return as_pair([(size - 1) * s + extent + more for size, s, extent, more in sizes])

    def convolved(self, height: int, width: int) -> Pair:
        """Height and width of the output."""
        sizes = zip(self.plane(height, width), self.padding, strict=True)
        return as_pair([size - 2 * padding for size, padding in sizes])

    def fed(self, height: int, width: int) -> Pair:
        """Height and width of the input, from those of the output."""
        spread = self.plane(1, 1)
        sizes = zip((height, width), self.padding, spread, self.stride, strict=True)
        return as_pair([(size + 2 * padding - one) // s + 1 for size, padding, one, s in sizes])


class ConvTranspose2dOperator(WeightedOperator[ConvTranspose2d]):
    aten = ("conv_transpose2d",)
    rows_are_channels = True
    has_columns = True

    def read(self, call: AtenCall) -> tuple[ConvTranspose2d, Parameters]:
        weight, groups = call.constant("weight"), call["groups"]
        if weight.ndim != 4:
            raise call.unsupported(
                "only one- and two-dimensional convolutions are supported", "Use nn.ConvTranspose2d"
            )
        weight = _swap_channels(weight, groups)
        bias = call.optional_constant("bias")
        if bias is None:
            bias = np.zeros(len(weight), np.float32)
        attributes = ConvTranspose2d(
            in_channels=weight.shape[1] * groups,
            out_channels=len(weight),
            kernel=as_pair(weight.shape[2:]),
            stride=call.pair("stride"),
            padding=call.pair("padding"),
            output_padding=call.pair("output_padding"),
            dilation=call.pair("dilation"),
            groups=groups,
        )
        return attributes, {"weight": weight, "bias": bias}

    def output_shape(self, a: ConvTranspose2d, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = inputs[0]
        if channels != a.in_channels:
            raise UserError(
                f"{channels} channels reach a transposed convolution of {a.in_channels}",
                "the model",
                "Check the layer before it",
            )
        return (a.out_channels, *a.convolved(height, width))

    def describe(self, a: ConvTranspose2d) -> str:
        text = f"ConvTranspose2d {a.in_channels}->{a.out_channels} {a.kernel[0]}x{a.kernel[1]}"
        text += f" /{a.stride[0]}x{a.stride[1]}" if a.stride != (1, 1) else ""
        return text + (f" g{a.groups}" if a.groups > 1 else "")

    def forward(
        self, a: ConvTranspose2d, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        import torch.nn.functional as F

        (x,) = inputs
        weight, bias = parameters["weight"], parameters["bias"]
        grouped = weight.reshape(a.groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
        return F.conv_transpose2d(
            x, grouped, bias, a.stride, a.padding, a.output_padding, a.groups, a.dilation
        )

    def columns(self, a: ConvTranspose2d, *values: torch.Tensor) -> torch.Tensor:
        """A transposed convolution is one with a mirrored kernel on the input spread by strides."""
        import torch.nn.functional as F

        x = values[0]
        size = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], a.stride, strict=True)]
        spread = x.new_zeros(*x.shape[:2], *size)
        spread[:, :, :: a.stride[0], :: a.stride[1]] = x
        top, left = (e - 1 - p for e, p in zip(a.extent, a.padding, strict=True))
        bottom, right = top + a.output_padding[0], left + a.output_padding[1]
        windows = F.unfold(F.pad(spread, (left, right, top, bottom)), a.kernel, a.dilation)
        by_tap = (len(x), a.groups, -1, prod(a.kernel), windows.shape[2])
        mirrored = windows.reshape(by_tap).flip(3)
        return mirrored.flatten(2, 3).permute(1, 0, 3, 2).flatten(1, 2)

    def integer(
        self,
        node: WeightedNode[ConvTranspose2d],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """x: int8 [batch, channels, height, width]."""
        (x,) = inputs
        a, zero = node.attributes, quantization[0].zero_point
        sums = _spread_sums(a, x.astype(np.float64) - zero, node.weight.astype(np.float64))
        top, left = a.padding
        height, width = a.convolved(*x.shape[2:])
        cropped = sums[:, :, top : top + height, left : left + width].astype(np.int64)
        # The bias is not folded, because outputs at the border do not use all weights.
        bias = unfolded_bias(node, zero)
        return requantize(cropped + bias[:, None, None], node.multiplier, node.requantize)

    def macs(self, a: ConvTranspose2d, weights: int, output: Shape) -> int:
        return weights * prod(a.fed(*output[1:]))


def _swap_channels(weight: Float32Array, groups: int) -> Float32Array:
    """[in, out / groups, *kernel] as [out, in / groups, *kernel]."""
    grouped = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    swapped: Float32Array = np.ascontiguousarray(grouped.reshape(-1, *grouped.shape[2:]))
    return frozen(swapped)


def _spread_sums(a: ConvTranspose2d, x: Float64Array, weight: Float64Array) -> Float64Array:
    """Sums of products before the padding is removed: [batch, out_channels, *plane].

    float64 is exact: every partial sum is an integer below 2**31.
    """
    batch, _, height, width = x.shape
    size = a.plane(height, width)
    sums = np.zeros((batch, a.groups, a.out_channels // a.groups, *size))
    values = x.reshape(batch, a.groups, -1, height * width)
    kernels = weight.reshape(a.groups, a.out_channels // a.groups, -1, *a.kernel)
    for ky, kx in np.ndindex(a.kernel):
        rows, columns = (
            slice(k * d, k * d + (count - 1) * s + 1, s)
            for k, d, count, s in zip((ky, kx), a.dilation, (height, width), a.stride, strict=True)
        )
        products = kernels[..., ky, kx] @ values
        sums[..., rows, columns] += products.reshape(*sums.shape[:3], height, width)
    return sums.reshape(batch, a.out_channels, *size)
