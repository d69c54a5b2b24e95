"""Imports Q/DQ nodes: their scale and zero point become the tensor's range; the nodes are removed.

Programs from PT2E (prepare_pt2e and convert_pt2e of torchao) have such nodes, and so do networks
trained with fake quantization. `quantize` chooses exactly the same scale and zero point again from
the range. Tensors without Q/DQ nodes get their range from calibration.

Q/DQ nodes of weights need no range: dequantized weights are multiples of their scale, and
`quantize` finds that scale.
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

# Q/DQ nodes of activations.
QUANTIZERS = {
    "quantize_per_tensor",
    "dequantize_per_tensor",
    "fake_quantize_per_tensor_affine",
}
# Calls that compute a scale for each input at run time. Here calibration measures one for all.
DYNAMIC_QPARAMS = {"choose_qparams", "choose_qparams_symmetric"}
# Q/DQ nodes that are computed during import if their tensor is a weight.
ON_CONSTANTS = {
    *QUANTIZERS,
    "quantize_per_channel",
    "dequantize_per_channel",
    "fake_quantize_per_channel_affine",
}
# With at least this many steps, int8 itself limits values as the node does, within one step.
_STEPS_OF_INT8 = 254


@dataclass(frozen=True)
class TensorQuantization:
    """The quantization that a Q/DQ node prescribes for its tensor.

    Attributes:
        range: real values of int8's -128 and 127 at the node's scale and zero point.
        limits: the least and greatest real value that passes, if the node has fewer than 8 bits.
    """

    range: Range
    limits: Limits | None


def read_qdq(call: AtenCall) -> TensorQuantization | None:
    """The quantization of one of `QUANTIZERS`; None unless it has one scale and at most 8 bits."""
    if "scale" not in {**call.arguments, **call.constants}:
        return None
    operands = [call.operand(name) for name in ("scale", "zero_point", "quant_min", "quant_max")]
    if operands[0].size != 1:
        return None
    scale = float(operands[0].item())
    zero_point, quant_min, quant_max = (int(operand.item()) for operand in operands[1:])
    offset = 128 if quant_min >= 0 else 0  # of an unsigned type to int8
    if quant_min - offset < -128 or quant_max - offset > 127:
        return None

    def real(q: int) -> float:
        return (q - zero_point) * scale

    has_few_steps = quant_max - quant_min < _STEPS_OF_INT8
    limits = Limits(real(quant_min), real(quant_max)) if has_few_steps else None
    return TensorQuantization((real(offset - 128), real(offset + 127)), limits)


def propagate_ranges(ranges: dict[str, Range], nodes: Iterable[Node]) -> dict[str, Range]:
    """The ranges, extended to tensors that hold the same values at the same scale."""
    ranges, nodes = dict(ranges), list(nodes)
    for node in nodes:
        if keeps_scale(node) and len(node.inputs) == 1 and node.inputs[0] in ranges:
            ranges.setdefault(node.output, ranges[node.inputs[0]])
    for node in reversed(nodes):
        if node.op == "flatten" and node.output in ranges:
            ranges.setdefault(node.inputs[0], ranges[node.output])
    return ranges
