"""MaxPool2d. Behind a convolution `fold` moves it into the convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from deepcompress.graph import IntegerNode, Quantization
    from deepcompress.lower import Call

ATEN = ("max_pool2d", "max_pool2d_with_indices")
CHANNELWISE = True


@dataclass(frozen=True)
class MaxPool2d:
    """Attributes. Pairs are (height, width); `padding` counts rows and columns on each side."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    def pooled(self, height: int, width: int) -> tuple[int, int]:
        return tuple(
            (size + 2 * pad - kernel) // stride + 1
            for size, pad, kernel, stride in zip(
                (height, width), self.padding, self.kernel, self.stride, strict=True
            )
        )


def read(call: Call) -> tuple[MaxPool2d, dict[str, np.ndarray]]:
    kernel = call.pair("kernel_size")
    if call.pair("dilation", 1) != (1, 1) or call.get("ceil_mode", False):
        raise call.unsupported(
            "MaxPool2d with dilation or ceil_mode is not supported",
            "Use dilation=1 and ceil_mode=False",
        )
    if call.input_rank != 3:
        raise call.unsupported("MaxPool2d wants [batch, channels, height, width]", "Reshape first")
    stride = call.pair("stride") if call.get("stride", []) else kernel
    return MaxPool2d(kernel, stride, call.pair("padding")), {}


def output_shape(attributes: MaxPool2d, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    channels, height, width = inputs[0]
    return (channels, *attributes.pooled(height, width))


def describe(attributes: MaxPool2d) -> str:
    return f"MaxPool2d {attributes.kernel[0]}x{attributes.kernel[1]}"


def forward(attributes: MaxPool2d, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    return F.max_pool2d(x, attributes.kernel, attributes.stride, attributes.padding)


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """x: int8 [batch, channels, height, width]; a padded position never wins."""
    rows, columns = node.attributes.padding
    x = np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)), constant_values=-128)
    return np.clip(pool_maximum(node.attributes, x), *node.clamp)


def pool_maximum(pool: MaxPool2d, x: np.ndarray) -> np.ndarray:
    """Maximum of each window of x [batch, channels, height, width], padding done before."""
    windows = np.lib.stride_tricks.sliding_window_view(x, pool.kernel, axis=(2, 3))
    return windows[:, :, :: pool.stride[0], :: pool.stride[1]].max(axis=(4, 5))


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_max_pool2d in include/deepcompress/kernels/max_pool2d.h."""
    a, (channels, in_height, in_width) = node.attributes, inputs[0]
    return {
        "channels": channels,
        "in_height": in_height,
        "in_width": in_width,
        "out_height": output[1],
        "out_width": output[2],
        "kernel_height": a.kernel[0],
        "kernel_width": a.kernel[1],
        "stride_height": a.stride[0],
        "stride_width": a.stride[1],
        "pad_top": a.padding[0],
        "pad_left": a.padding[1],
        "minimum": node.clamp[0],
        "maximum": node.clamp[1],
    }


def macs(attributes: MaxPool2d, weights: int, output: tuple[int, ...]) -> int:
    return 0
