"""Bilinear upsampling to twice the height and width.

Each value is a mean of four, weighted by 9, 3, 3 and 1 sixteenths: scale and zero point stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call
    from deepcompress.ir.graph import IntegerNode, Quantization

ATEN = ("upsample_bilinear2d",)
CHANNELWISE = True


@dataclass(frozen=True)
class UpsampleBilinear2d:
    """Attributes: none but the operator itself; the factor is 2."""


def read(call: Call) -> tuple[UpsampleBilinear2d, dict[str, np.ndarray]]:
    doubled = tuple(2 * size for size in call.input_shape[1:])
    if call["align_corners"] or call.output_shape[1:] != doubled:
        raise call.unsupported(
            "bilinear upsampling is supported by 2, not with aligned corners",
            "Use nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)",
        )
    return UpsampleBilinear2d(), {}


def output_shape(a: UpsampleBilinear2d, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    channels, height, width = inputs[0]
    return (channels, 2 * height, 2 * width)


def describe(attributes: UpsampleBilinear2d) -> str:
    return "Upsample bilinear x2"


def forward(attributes: UpsampleBilinear2d, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """q = (sum of weighted values + 8) >> 4."""
    sums = _doubled(_doubled(x.astype(np.int32), 2), 3)
    return np.clip((sums + 8) >> 4, *node.clamp).astype(np.int8)


def _doubled(x: np.ndarray, axis: int) -> np.ndarray:
    """Between neighbours along an axis, at a quarter and at three quarters, in quarters."""
    size = x.shape[axis]
    before = x.take(np.maximum(np.arange(size) - 1, 0), axis)
    after = x.take(np.minimum(np.arange(size) + 1, size - 1), axis)
    pairs = np.stack([before + 3 * x, 3 * x + after], axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_upsample_bilinear2d in include/deepcompress/kernels/upsample_bilinear2d.h."""
    channels, height, width = inputs[0]
    return {
        "channels": channels,
        "height": height,
        "width": width,
        "minimum": node.clamp[0],
        "maximum": node.clamp[1],
    }


def macs(attributes: UpsampleBilinear2d, weights: int, output: tuple[int, ...]) -> int:
    return 4 * prod(output)
