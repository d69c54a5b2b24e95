"""MaxPool2d. `fuse` merges it into a preceding convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Quantization
from deepcompress.ops.operator import Parameters, ScaleKeepingOperator, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


Pair = tuple[int, int]


@dataclass(frozen=True)
class MaxPool2d(Attributes):
    """Attributes. Pairs are (height, width); `padding` counts rows and columns on each side.

    With `ceil`, a last window that begins inside may end outside, beyond the padding.
    """

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False

    @property
    def extent(self) -> Pair:
        """Rows and columns from a window's first to its last."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def pooled(self, height: int, width: int) -> Pair:
        return tuple(
            windows(*along, ceil=self.ceil)
            for along in zip((height, width), self.extent, self.stride, self.padding, strict=True)
        )


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
        """x: int8 [batch, channels, height, width]; a padded position never wins."""
        (x,) = inputs
        a = node.attributes
        sides = zip(a.padding, a.stride, strict=True)
        around = [(pad, pad + stride - 1 if a.ceil else pad) for pad, stride in sides]
        padded = np.pad(x, ((0, 0), (0, 0), *around), constant_values=-128)
        height, width = a.pooled(*x.shape[2:])
        return np.clip(pool_maximum(a, padded)[:, :, :height, :width], *node.clamp)

    def c_parameters(
        self,
        node: IntegerNode[MaxPool2d],
        quantization: Sequence[Quantization],
        inputs: Sequence[Shape],
        output: Shape,
    ) -> dict[str, int]:
        """Fields of dc_max_pool2d in include/deepcompress/kernels/max_pool2d.h."""
        a = node.attributes
        return {
            **window_fields(a, inputs[0], output),
            **height_width("dilation", a.dilation),
            "minimum": node.clamp[0],
            "maximum": node.clamp[1],
        }

    def macs(self, attributes: MaxPool2d, weights: int, output: Shape) -> int:
        return 0


def windows(size: int, extent: int, stride: int, pad: int, *, ceil: bool) -> int:
    """How many windows there are along an axis; one behind the right padding is none."""
    count = (size + 2 * pad - extent + (stride - 1 if ceil else 0)) // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + pad else count


def read_windows(call: AtenCall) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding. Raises UserError where the input is not an image."""
    if call.input_rank != 3:
        raise call.unsupported(
            "pooling wants [batch, channels, height, width]", "Reshape the input before it"
        )
    kernel = call.pair("kernel_size")
    stride = call.pair("stride") if call.get("stride", []) else kernel
    return kernel, stride, call.pair("padding")


def pool_maximum(pool: MaxPool2d, x: np.ndarray) -> np.ndarray:
    """Maximum of each window of x [batch, channels, height, width], padding done before."""
    views = np.lib.stride_tricks.sliding_window_view(x, pool.extent, axis=(2, 3))
    views = views[:, :, :: pool.stride[0], :: pool.stride[1]]
    return views[..., :: pool.dilation[0], :: pool.dilation[1]].max(axis=(4, 5))


def window_fields(a: Any, shape: tuple, output: tuple) -> dict[str, int]:
    """What the structs of pooling have in common, of an input and an output [channels, height,
    width]."""
    channels, in_height, in_width = shape
    return {
        "channels": channels,
        "in_height": in_height,
        "in_width": in_width,
        "out_height": output[1],
        "out_width": output[2],
        **height_width("kernel", a.kernel),
        **height_width("stride", a.stride),
        "pad_top": a.padding[0],
        "pad_left": a.padding[1],
    }


def height_width(name: str, pair: Pair) -> dict[str, int]:
    return {f"{name}_height": pair[0], f"{name}_width": pair[1]}
