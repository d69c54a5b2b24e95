"""What convolutions and pooling share: windows over an image. Pairs are (height, width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcompress.ir.aten_call import AtenCall

Pair = tuple[int, int]


def as_pair(sizes: Sequence[int]) -> Pair:
    """Two sizes as a pair.

    Raises:
        ValueError: there are not exactly two.
    """
    height, width = sizes
    return height, width


def extent_of(kernel: Pair, dilation: Pair) -> Pair:
    """Rows and columns that a dilated kernel covers."""
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


def count_windows(size: int, extent: int, stride: int, padding: int, *, ceil: bool) -> int:
    """Number of windows along an axis.

    Args:
        size: of the input along the axis, without padding.
        extent: positions that a window covers.
        padding: positions on each side.
        ceil: a last window that starts inside the input or its left padding may end outside.
    """
    count = (size + 2 * padding - extent + (stride - 1 if ceil else 0)) // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + padding else count


def read_windows(call: AtenCall) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding of a pooling call.

    Raises:
        UserError: the input is not an image.
    """
    if call.input_rank != 3:
        raise call.unsupported(
            "pooling wants [batch, channels, height, width]", "Reshape the input before it"
        )
    kernel = call.pair("kernel_size")
    stride = call.pair("stride") if call.get("stride", []) else kernel
    return kernel, stride, call.pair("padding")
