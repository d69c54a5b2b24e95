"""PReLU: negative values are multiplied by the slope of their channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import Int8Array, frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, Node, Quantization, Requantize, RequantizedNode
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


# The smallest output step is 2**-_FACTOR_BITS input steps, so that factors are below the inverse.
_FACTOR_BITS = 8
_MULTIPLIER_BITS = 15
# The largest useful shift of a 32-bit product.
_LARGEST_SHIFT = 30


@dataclass(frozen=True)
class PReLU(Attributes):
    """Attributes. `slopes` is the number of channels, or 1 if all channels share a slope."""

    slopes: int


class PReLUOperator(Operator[PReLU, RequantizedNode[PReLU]]):
    aten = ("prelu",)
    in_place = True
    channelwise = True

    def read(self, call: AtenCall) -> tuple[PReLU, Parameters]:
        slope = call.constant("weight")
        return PReLU(slope.size), {"slope": slope}

    def output_shape(self, attributes: PReLU, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def describe(self, attributes: PReLU) -> str:
        return "PReLU"

    def forward(
        self, attributes: PReLU, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        return F.prelu(x, parameters["slope"])

    def quantize(
        self, node: Node[PReLU], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[RequantizedNode[PReLU], Quantization]:
        before, slope = inputs[0], node.parameters["slope"].astype(np.float64)
        steepest = max(1.0, float(np.abs(slope).max()))
        after = affine(*observed, finest=before.scale * steepest / 2**_FACTOR_BITS)
        factors = np.array([1.0, *slope]) * before.scale / after.scale
        shift = _MULTIPLIER_BITS - int(np.ceil(np.log2(np.abs(factors).max() * (1 + 2**-14))))
        shift = min(shift, _LARGEST_SHIFT)
        multipliers = frozen(np.round(factors * 2.0**shift).astype(np.int16))
        clamp = clamp_int8(node.clamp, after)
        integer = RequantizedNode(
            *node.identity,
            requantize=Requantize(shift, after.zero_point, *clamp),
            clamp=clamp,
            fields={"positive": int(multipliers[0])},
            tables=(Array("slope", multipliers[1:], f"of negative values, times 2^{shift}"),),
        )
        return integer, after

    def integer(
        self, node: RequantizedNode[PReLU], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """x: int8 [batch, channels, ...]."""
        (x,) = inputs
        by, slope = node.requantize, node.table("slope").astype(np.int32)
        real = x.astype(np.int32) - quantization[0].zero_point
        slopes = slope.reshape(1, -1, *[1] * (x.ndim - 2))
        products = real * np.where(real < 0, slopes, node.fields["positive"])
        rounded = (products + (1 << (by.shift - 1))) >> by.shift
        return saturate(rounded + by.zero_point, (by.minimum, by.maximum))
