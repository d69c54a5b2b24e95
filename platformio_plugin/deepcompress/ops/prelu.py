"""PReLU: what is below zero is multiplied by its channel's slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization, Requantize

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call

ATEN = ("prelu",)
IN_PLACE = True
CHANNELWISE = True

# The least output step, in input steps: so that factors are below 2**_FACTOR_BITS.
_FACTOR_BITS = 8
_MULTIPLIER_BITS = 15
# Of a product of 32 bits, where the input is as good as dead.
_GREATEST_SHIFT = 30


@dataclass(frozen=True)
class PReLU:
    """Attributes: one slope a channel, or one for all."""

    slopes: int


def read(call: Call) -> tuple[PReLU, dict[str, np.ndarray]]:
    slope = call.constant("weight")
    return PReLU(slope.size), {"slope": slope}


def output_shape(attributes: PReLU, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return inputs[0]


def describe(attributes: PReLU) -> str:
    return "PReLU"


def forward(attributes: PReLU, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    return F.prelu(x, parameters["slope"])


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    before, slope = inputs[0], node.parameters["slope"].astype(np.float64)
    steepest = max(1.0, float(np.abs(slope).max()))
    after = affine(*observed, finest=before.scale * steepest / 2**_FACTOR_BITS)
    factors = np.array([1.0, *slope]) * before.scale / after.scale
    shift = _MULTIPLIER_BITS - int(np.ceil(np.log2(np.abs(factors).max() * (1 + 2**-14))))
    shift = min(shift, _GREATEST_SHIFT)
    multipliers = np.round(factors * 2.0**shift).astype(np.int16)
    multipliers.flags.writeable = False
    clamp = clamp_int8(node.clamp, after)
    integer = IntegerNode.of(
        node,
        requantize=Requantize(multipliers[:1].astype(np.int32), shift, after.zero_point, *clamp),
        clamp=clamp,
        fields={"positive": int(multipliers[0])},
        tables=(Array("slope", multipliers[1:], f"of negative values, times 2^{shift}"),),
    )
    return integer, after


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """x: int8 [batch, channels, ...]."""
    by, slope = node.requantize, node.table("slope").astype(np.int32)
    real = x.astype(np.int32) - quantization[0].zero_point
    slopes = slope.reshape(1, -1, *[1] * (x.ndim - 2))
    products = real * np.where(real < 0, slopes, node.fields["positive"])
    rounded = (products + (1 << (by.shift - 1))) >> by.shift
    return np.clip(rounded + by.zero_point, by.minimum, by.maximum).astype(np.int8)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_prelu in include/deepcompress/kernels/prelu.h."""
    slopes = node.attributes.slopes
    return {
        "slopes": slopes,
        "plane": int(np.prod(output)) // slopes,
        "zero_point": quantization[0].zero_point,
    }


def macs(attributes: PReLU, weights: int, output: tuple[int, ...]) -> int:
    return 0
