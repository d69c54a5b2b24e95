"""LayerNorm and RMSNorm over the last axes, in integers.

With v = input - zero point, n of them in a row, in input steps:

    u    = n * v - sum of v          (RMSNorm: n * v)
    d    = 2^8 * sum of u^2 / n + epsilon, which is 2^8 * n^2 * variance, computed from two sums
    z    = u / sqrt(d / 2^8) in units of 2^-10, by a 16-bit root of d and its reciprocal
    y    = clamp(((z * gain + bias) >> shift) + zero point)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log2, prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import (
    Float32Array,
    Float64Array,
    Int8Array,
    Int64Array,
    IntArray,
    frozen,
)
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, Node, Quantization, Requantize, RequantizedNode
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


# With at most this many values, d fits 62 bits and the sum of squares 32.
_LONGEST = 2**15
_VARIANCE_BITS = 8
_NORMAL_BITS = 10
# Largest number of output steps per standard deviation.
_FINEST = 256
_GAIN_LIMIT = 2**15 - 1
_FLOAT_EPSILON = 2.0**-23


@dataclass(frozen=True)
class LayerNorm(Attributes):
    """Attributes.

    Attributes:
        shape: of the last axes, over which values are normalized.
        centered: whether the mean is subtracted, which RMSNorm does not do.
    """

    shape: tuple[int, ...]
    epsilon: float
    centered: bool = True

    @property
    def length(self) -> int:
        """Number of values that are normalized together."""
        return prod(self.shape)


class LayerNormOperator(Operator[LayerNorm, RequantizedNode[LayerNorm]]):
    aten = ("layer_norm", "native_layer_norm", "rms_norm")
    in_place = True

    def read(self, call: AtenCall) -> tuple[LayerNorm, Parameters]:
        shape = tuple(call["normalized_shape"])
        if len(shape) > len(call.output_shape) or prod(shape) > _LONGEST:
            raise call.unsupported(
                f"normalizing over {list(shape)} is not supported",
                f"Normalize over {_LONGEST} values at most, not over the batch",
            )
        epsilon = call.get("eps", None)
        gain = call.optional_constant("weight")
        bias = call.optional_constant("bias")
        attributes = LayerNorm(
            shape, _FLOAT_EPSILON if epsilon is None else epsilon, "rms" not in call.aten
        )
        parameters = {
            "gain": np.ones(shape, np.float32) if gain is None else gain,
            "bias": np.zeros(shape, np.float32) if bias is None else bias,
        }
        return attributes, parameters

    def output_shape(self, attributes: LayerNorm, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def describe(self, attributes: LayerNorm) -> str:
        return "LayerNorm" if attributes.centered else "RMSNorm"

    def forward(
        self, a: LayerNorm, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        if a.centered:
            return F.layer_norm(x, a.shape, parameters["gain"], parameters["bias"], a.epsilon)
        return F.rms_norm(x, a.shape, parameters["gain"], a.epsilon) + parameters["bias"]

    def quantize(
        self, node: Node[LayerNorm], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[RequantizedNode[LayerNorm], Quantization]:
        a, before = node.attributes, inputs[0]
        gain, bias = (_shared(node.parameters[name]) for name in ("gain", "bias"))
        gain, bias = np.broadcast_arrays(gain, bias)
        after = affine(*observed, finest=float(np.abs(gain).max()) / _FINEST)
        gain, bias = gain / after.scale / 2**_NORMAL_BITS, bias / after.scale
        shift = _shift(gain, bias, a.length)
        clamp = clamp_int8(node.clamp, after)
        epsilon = a.epsilon / before.scale**2 * a.length**2 * 2**_VARIANCE_BITS
        integer = RequantizedNode(
            *node.identity,
            clamp=clamp,
            requantize=Requantize(shift, after.zero_point, *clamp),
            fields={"epsilon": int(np.clip(round(min(epsilon, 2.0**61)), 1, 2**61))},
            tables=(
                Array("gain", _fixed_point(gain, shift, np.int16), f"times 2^{shift}"),
                Array("bias", _fixed_point(bias, shift, np.int32), f"times 2^{shift}"),
            ),
        )
        return integer, after

    def integer(
        self,
        node: RequantizedNode[LayerNorm],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """x: int8 [batch, ...]."""
        (x,) = inputs
        a, by = node.attributes, node.requantize
        values = x.reshape(-1, a.length).astype(np.int64) - quantization[0].zero_point
        total = values.sum(axis=1, keepdims=True) if a.centered else 0
        spread = a.length * np.square(values).sum(axis=1, keepdims=True) - total**2
        root, exponent = _root((spread << _VARIANCE_BITS) + node.fields["epsilon"])
        shift = exponent + 31 - _VARIANCE_BITS // 2 - _NORMAL_BITS
        normal = (a.length * values - total) * (2**31 // root) + (1 << (shift - 1)) >> shift
        scaled = normal * node.table("gain") + node.table("bias") + (1 << (by.shift - 1))
        limits = (by.minimum, by.maximum)
        return saturate((scaled >> by.shift) + by.zero_point, limits).reshape(x.shape)


def _shared(values: Float32Array) -> Float64Array:
    """float64 [n], or [1] if all are equal."""
    flat = values.ravel().astype(np.float64)
    return flat[:1] if (flat == flat[0]).all() else flat


def _shift(gain: Float64Array, bias: Float64Array, length: int) -> int:
    """The largest shift with which gains fit 16 bits and z * gain + bias 31; |z| <= sqrt(n)."""
    largest = float(np.abs(gain).max()) * (sqrt(length) + 1) * 2**_NORMAL_BITS
    largest += float(np.abs(bias).max()) + 1
    of_gain = _GAIN_LIMIT / max(float(np.abs(gain).max()), 2.0**-20)
    return floor(log2(min(2**30 / largest, of_gain)))


def _fixed_point(values: Float64Array, shift: int, dtype: type[np.integer[Any]]) -> IntArray:
    return frozen(np.round(values * 2.0**shift).astype(dtype))


def _root(value: Int64Array) -> tuple[Int64Array, Int64Array]:
    """(r, e) with r * 2^e = the root of an int64 >= 1, and 2^15 <= r < 2^16; as `dc_root` in C."""
    exponent = np.zeros_like(value)
    for _ in range(16):
        large, small = value >= 2**32, value < 2**30
        value = np.where(large, value >> 2, np.where(small, value << 2, value))
        exponent += large.astype(np.int64) - small
    return np.floor(np.sqrt(value.astype(np.float64))).astype(np.int64), exponent
