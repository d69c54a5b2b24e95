"""Scales and zero points that a file states: its quantize and dequantize calls.

So do programs from PT2E (prepare_pt2e, convert_pt2e of torchao), and those trained with fake
quantization. The calls vanish from the graph; what they say of a tensor becomes its range, of which
`quantize` makes exactly this scale and zero point again. What a file does not state is measured.

Weights need nothing of the kind: dequantized, they lie on a grid, and `quantize` finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcompress.arith.qparams import Range
from deepcompress.ir.graph import Node
from deepcompress.ops import keeps_scale
from deepcompress.ops.clamp import Limits

if TYPE_CHECKING:
    from deepcompress.ir.aten_call import AtenCall

QUANTIZERS = {
    "quantize_per_tensor",
    "dequantize_per_tensor",
    "fake_quantize_per_tensor_affine",
}
# From this many steps on, int8 itself limits a value as the file does, or by a step later.
_NEARLY_ALL = 254
# What a call gives that chooses a scale anew for each input; here, one is measured for all.
CHOOSERS = {"choose_qparams", "choose_qparams_symmetric"}
# Weights of these, where they are stored as floats or as integers, are computed.
ON_CONSTANTS = {
    *QUANTIZERS,
    "quantize_per_channel",
    "dequantize_per_channel",
    "fake_quantize_per_channel_affine",
}


@dataclass(frozen=True)
class Stated:
    """What a call says of its tensor.

    Attributes:
        range: the reals of int8's -128 and 127 in the stated scale.
        limits: the least and greatest real that it lets through, if it has fewer bits.
    """

    range: Range
    limits: Limits | None


def read_stated(call: AtenCall) -> Stated | None:
    """What one of `QUANTIZERS` says, or None where that is no one scale of up to 8 bits."""
    if "scale" not in {**call.arguments, **call.constants}:
        return None
    scale, zero_point, low, high = (
        call.operand(name) for name in ("scale", "zero_point", "quant_min", "quant_max")
    )
    if scale.size != 1:
        return None
    unsigned = 128 if low >= 0 else 0
    if low - unsigned < -128 or high - unsigned > 127:
        return None

    def real(q: int) -> float:
        return (int(q) - int(zero_point)) * float(scale)

    few = high - low < _NEARLY_ALL
    limits = Limits(real(low), real(high)) if few else None
    return Stated((real(unsigned - 128), real(unsigned + 127)), limits)


def spread(ranges: dict[str, Range], nodes: Iterable[Node]) -> dict[str, Range]:
    """The ranges, also of tensors that hold the same values, or some of them, in the same scale."""
    ranges, nodes = dict(ranges), list(nodes)
    for node in nodes:
        if keeps_scale(node) and len(node.inputs) == 1 and node.inputs[0] in ranges:
            ranges.setdefault(node.output, ranges[node.inputs[0]])
    for node in reversed(nodes):
        if node.op == "flatten" and node.output in ranges:
            ranges.setdefault(node.inputs[0], ranges[node.output])
    return ranges
