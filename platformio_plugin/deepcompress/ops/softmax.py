"""Softmax and LogSoftmax along one axis, in integers.

With d = the maximum of a vector minus this value, in input steps (0 .. 255):

    e          = round(65535 * exp(-d * scale)), from a table that ends where this becomes 0
    Softmax    = clamp((256 * e + sum of e / 2) / sum of e - 128), with scale 1/256
    LogSoftmax = -d * scale - ln(sum of e / 65535), both multiplied to the output's scale

The logarithm is computed to base 2 by repeated squaring, without libm or a second table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import Int8Array, Int64Array, UInt16Array, frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


_PROBABILITY = Quantization(1 / 256, -128)
_ONE = 65535
# Sums of at most this many exponentials fit 32 bits.
_LONGEST = 2**16
_LOG_BITS = 16
# Shift of LogSoftmax's two multipliers; with output steps as limited below, both fit int32.
_SHIFT = 24
_FINEST_OF_INPUT = 1 / 64
_FINEST = 1 / 1024


@dataclass(frozen=True)
class Softmax(Attributes):
    """Attributes.

    Attributes:
        axis: counted without the batch.
        log: whether the result is the logarithm, as in LogSoftmax.
    """

    axis: int
    log: bool = False


class SoftmaxOperator(Operator[Softmax, IntegerNode[Softmax]]):
    aten = ("softmax", "_softmax", "log_softmax", "_log_softmax")
    in_place = True

    def read(self, call: AtenCall) -> tuple[Softmax, Parameters]:
        rank = len(call.output_shape) + 1
        if not -rank <= call["dim"] < rank:
            raise call.unsupported(
                f"its input has {rank} axes, not one of number {call['dim']}", "Use dim=1 or dim=-1"
            )
        axis = call["dim"] % rank - 1
        if axis < 0:
            raise call.unsupported("Softmax over the batch is not supported", "Use dim=1 or dim=-1")
        if call.output_shape[axis] > _LONGEST:
            raise call.unsupported(
                f"a sum of {call.output_shape[axis]} exponentials does not fit 32 bits",
                f"Use Softmax on {_LONGEST} values at most",
            )
        return Softmax(axis, "log" in call.aten), {}

    def output_shape(self, attributes: Softmax, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def describe(self, attributes: Softmax) -> str:
        return "LogSoftmax" if attributes.log else "Softmax"

    def forward(
        self, attributes: Softmax, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        axis = attributes.axis + 1
        return x.log_softmax(axis) if attributes.log else x.softmax(axis)

    def quantize(
        self, node: Node[Softmax], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[Softmax], Quantization]:
        before, after, fields = inputs[0], _PROBABILITY, {"factor": 0, "log_factor": 0}
        if node.attributes.log:
            after = affine(*observed, finest=max(_FINEST, before.scale * _FINEST_OF_INPUT))
            fields["factor"] = round(before.scale / after.scale * 2**_SHIFT)
            fields["log_factor"] = round(log(2) / after.scale * 2 ** (_SHIFT - _LOG_BITS))
        clamp = clamp_int8(node.clamp, after)
        table = Array("exponentials", _exponentials(before.scale), "65535 * exp(-d * scale)")
        fields |= {"entries": len(table.values), "zero_point": after.zero_point}
        integer = IntegerNode(
            *node.identity,
            clamp=clamp,
            fields=fields,
            tables=(table,),
        )
        return integer, after

    def integer(
        self, node: IntegerNode[Softmax], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """x: int8 [batch, ...]."""
        (x,) = inputs
        a, fields = node.attributes, node.fields
        wide = x.astype(np.int64)
        below = wide.max(axis=a.axis + 1, keepdims=True) - wide
        table = np.zeros(256, np.int64)
        table[: fields["entries"]] = node.table("exponentials")
        exponentials = table[below]
        total = exponentials.sum(axis=a.axis + 1, keepdims=True)
        if a.log:
            logarithm = (_log2(total) - _log2(np.array(_ONE))) * fields["log_factor"]
            rounded = (logarithm + (1 << (_SHIFT - 1)) + below * fields["factor"]) >> _SHIFT
            result = fields["zero_point"] - rounded
        else:
            result = (256 * exponentials + total // 2) // total + fields["zero_point"]
        return saturate(result, node.clamp)


def _exponentials(scale: float) -> UInt16Array:
    """uint16 [1 .. 256]: 65535 * exp(-d * scale) for d = 0, 1, ..., without trailing zeros."""
    table = np.round(_ONE * np.exp(-np.arange(256) * scale)).astype(np.uint16)
    table = table[: np.count_nonzero(table)]
    return frozen(table)


def _log2(value: Int64Array) -> Int64Array:
    """About floor(2^16 log2(value)) for 1 <= value < 2^32; bit-exact to `dc_log2` in C."""
    whole = np.frexp(value.astype(np.float64))[1].astype(np.int64) - 1
    mantissa = (value << (31 - whole)).astype(np.uint64)  # 2^31 .. 2^32
    fraction = np.zeros_like(whole)
    for _ in range(_LOG_BITS):
        mantissa = (mantissa * mantissa) >> np.uint64(31)
        bit = mantissa >> np.uint64(32)
        mantissa >>= bit
        fraction = 2 * fraction + bit.astype(np.int64)
    return (whole << _LOG_BITS) + fraction
