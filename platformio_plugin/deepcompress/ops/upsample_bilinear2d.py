"""Bilinear upsampling to twice the height and width.

Each output is a mean of four inputs, weighted by 9, 3, 3 and 1 sixteenths, so it has their scale
and zero point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import Int8Array, Int32Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Quantization
from deepcompress.ops.operator import Parameters, ScaleKeepingOperator, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class UpsampleBilinear2d(Attributes):
    """No attributes; the factor is always 2."""


class UpsampleBilinear2dOperator(ScaleKeepingOperator[UpsampleBilinear2d]):
    aten = ("upsample_bilinear2d",)
    channelwise = True

    def read(self, call: AtenCall) -> tuple[UpsampleBilinear2d, Parameters]:
        doubled = tuple(2 * size for size in call.input_shape[1:])
        scales = [*(call.get("scale_factors", None) or ()), call.get("scales_w", None)]
        by_two = call.output_shape[1:] == doubled and all(scale in (None, 2) for scale in scales)
        if call["align_corners"] or not by_two:
            raise call.unsupported(
                "linear and bilinear upsampling are supported by 2, not with aligned corners",
                "Use nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False), or "
                "mode='linear' in one dimension. For any other factor, multiply the last axis by a "
                "constant matrix: x @ matrix, with the matrix from register_buffer",
            )
        return UpsampleBilinear2d(), {}

    def output_shape(self, a: UpsampleBilinear2d, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = inputs[0]
        return (channels, 2 * height, 2 * width)

    def describe(self, attributes: UpsampleBilinear2d) -> str:
        return "Upsample bilinear x2"

    def forward(
        self,
        attributes: UpsampleBilinear2d,
        parameters: TorchParameters,
        *inputs: torch.Tensor,
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def integer(
        self,
        node: IntegerNode[UpsampleBilinear2d],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """q = (sum of weighted values + 8) >> 4."""
        (x,) = inputs
        sums = _doubled(_doubled(x.astype(np.int32), 2), 3)
        return saturate((sums + 8) >> 4, node.clamp)

    def macs(self, attributes: UpsampleBilinear2d, weights: int, output: Shape) -> int:
        return 4 * prod(output)


def _doubled(x: Int32Array, axis: int) -> Int32Array:
    """Four times the values between neighbours along an axis, at one and three quarters."""
    size = x.shape[axis]
    before = x.take(np.maximum(np.arange(size) - 1, 0), axis)
    after = x.take(np.minimum(np.arange(size) + 1, size - 1), axis)
    pairs = np.stack([before + 3 * x, 3 * x + after], axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
