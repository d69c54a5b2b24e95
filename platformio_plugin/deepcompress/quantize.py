"""From float to integers: scales and zero points, int8 weights, int32 biases, requantize constants.

Weights are symmetric per output channel, activations affine per tensor (Jacob et al., arXiv
1712.05877; Krishnamoorthi, arXiv 1806.08342). Ranges are the extremes over the calibration data.
What rounding a zero point of raw bytes loses is put into the first layer's bias.

So that constants take few bytes, a channel's scale is the next one above the finest possible whose
requantize multiplier has few bits, and a bias is a multiple of a large power of two. A layer whose
weights are multiples of one scale already, because it was trained so, keeps exactly these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepcompress.calibration import ByteScaling, Calibration
from deepcompress.forward import forward
from deepcompress.graph import (
    ByteInput,
    Clamp,
    Graph,
    IntegerGraph,
    IntegerNode,
    Node,
    Quantization,
    Requantize,
)
from deepcompress.ops import OPERATORS
from deepcompress.requantize import choose_multipliers, round_up_factors
from deepcompress.scales import (
    LARGEST_WEIGHT,
    Range,
    affine,
    clamp_int8,
    find_grid,
    narrow_scale,
    weight_scale,
)

# A bias above this makes its channel's weights coarser instead, so that the accumulator fits int32.
_BIAS_LIMIT = 2**29
_BYTE_SHIFT = 16
# Of an output step, the most that a bias's last bit is worth.
_BIAS_STEP = 0.25


@dataclass(frozen=True)
class _Input:
    """How the input is quantized; `residual` is the real value of an int8 of `zero_point`."""

    quantization: Quantization
    byte_input: ByteInput | None = None
    residual: float = 0.0


def quantize(graph: Graph, calibration: Calibration, *, narrow: bool = False) -> IntegerGraph:
    """The graph in integers.

    Args:
        graph: folded.
        calibration: its inputs have the graph's input shape.
        narrow: give convolutions coarser weights where their sums then fit int16 and little is
            lost by it, for kernels that multiply two inputs at once.
    """
    ranges = observe_ranges(graph, calibration.inputs)
    given = _quantize_input(ranges[graph.inputs[0]], calibration.byte_scaling)
    quantization = {graph.inputs[0]: given.quantization}
    nodes = []
    for node in graph.nodes:
        before = quantization[node.inputs[0]]
        operator = OPERATORS[node.op]
        if hasattr(operator, "quantize"):
            scales = [quantization[name] for name in node.inputs]
            integer, after = operator.quantize(node, scales, ranges[node.output])
        elif "weight" in node.parameters:
            residual = given.residual if node.inputs[0] == graph.inputs[0] else 0.0
            integer, after = _quantize_weighted(node, before, ranges[node.output], residual, narrow)
        else:
            integer, after = _quantize_plain(node, before), before
        quantization[node.output] = after
        nodes.append(integer)
    return IntegerGraph(
        name=graph.name,
        tensors=graph.tensors,
        quantization=quantization,
        nodes=tuple(nodes),
        inputs=graph.inputs,
        outputs=graph.outputs,
        byte_input=given.byte_input,
    )


def observe_ranges(graph: Graph, inputs: np.ndarray, *, batch: int = 256) -> dict[str, Range]:
    """Least and greatest value of every tensor over the inputs, by tensor name."""
    import torch

    ranges: dict[str, Range] = {}

    def observe(name: str, value: torch.Tensor) -> None:
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = min(low, float(value.min())), max(high, float(value.max()))

    with torch.no_grad():
        for i in range(0, len(inputs), batch):
            forward(graph, torch.from_numpy(inputs[i : i + batch]), observe=observe)
    return ranges


def _quantize_input(observed: Range, scaling: ByteScaling | None) -> _Input:
    if scaling is None:
        return _Input(affine(*observed))
    if len(scaling.scale) == 1 or (np.ptp(scaling.scale) == 0 and np.ptp(scaling.zero) == 0):
        return _quantize_plain_bytes(float(scaling.scale[0]), float(scaling.zero[0]))
    low, high = scaling.scale * -scaling.zero, scaling.scale * (255 - scaling.zero)
    chosen = affine(float(low.min()), float(high.max()))
    ratio = scaling.scale / chosen.scale
    offset = (chosen.zero_point - ratio * scaling.zero) * 2**_BYTE_SHIFT + 2 ** (_BYTE_SHIFT - 1)
    multiplier = np.round(ratio * 2**_BYTE_SHIFT).astype(np.int32)
    return _Input(chosen, ByteInput(multiplier, np.round(offset).astype(np.int32), _BYTE_SHIFT))


def _quantize_plain_bytes(scale: float, zero: float) -> _Input:
    """One scaling for all channels: the int8 is the byte less 128, exactly."""
    zero_point = int(np.clip(round(zero) - 128, -128, 127))
    return _Input(
        Quantization(float(np.float32(scale)), zero_point),
        ByteInput(np.array([1], np.int32), np.array([-128], np.int32), 0),
        residual=scale * (zero_point + 128 - zero),
    )


def _quantize_weighted(
    node: Node, before: Quantization, observed: Range, residual: float, narrow: bool
) -> tuple[IntegerNode, Quantization]:
    weight = node.parameters["weight"].astype(np.float64)
    weight = weight.reshape(len(weight), -1)
    bias = node.parameters["bias"].astype(np.float64)

    least_scale = np.abs(bias) / (before.scale * _BIAS_LIMIT)
    grid = find_grid(weight)
    on_grid = grid is not None and grid >= least_scale.max()
    if narrow and node.op == "conv2d" and not on_grid:
        least_scale = np.maximum(least_scale, narrow_scale(weight))
    scale = np.full(len(weight), grid) if on_grid else weight_scale(weight, least_scale)

    # An output step finer than the accumulator's own would only multiply its noise.
    after = affine(*observed, finest=float(before.scale * scale.max()))
    factors = np.minimum(before.scale * scale / after.scale, 1.0)
    if not on_grid:
        factors = round_up_factors(factors)
        scale = factors * after.scale / before.scale
    multiplier, shift = choose_multipliers(factors)

    weight_q = np.round(weight / scale[:, None])
    weight_q = np.clip(weight_q, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8)
    sums = weight_q.sum(axis=1, dtype=np.int64)
    bias_unit = _bias_unit(factors)
    bias_q = bias / (before.scale * scale) + residual / before.scale * sums
    bias_q = np.round(bias_q / bias_unit).astype(np.int64) * bias_unit - before.zero_point * sums
    minimum, maximum = clamp_int8(node.clamp, after)
    integer = IntegerNode(
        name=node.name,
        op=node.op,
        inputs=node.inputs,
        output=node.output,
        attributes=node.attributes,
        weight=_frozen(weight_q),
        bias=_frozen(bias_q.astype(np.int32)),
        requantize=Requantize(_frozen(multiplier), shift, after.zero_point, minimum, maximum),
        clamp=(minimum, maximum),
    )
    return integer, after


def _bias_unit(factors: np.ndarray) -> int:
    """The largest power of two of accumulator units within `_BIAS_STEP` in every channel."""
    return 2 ** max(0, int(np.floor(np.log2(_BIAS_STEP / factors.max()))))


def _quantize_plain(node: Node, before: Quantization) -> IntegerNode:
    """An operator that only moves or compares values keeps its input's scale."""
    clamp = node.clamp
    if node.op == "clamp":
        clamp = Clamp(node.attributes.minimum, node.attributes.maximum).then(clamp)
    return IntegerNode(
        name=node.name,
        op=node.op,
        inputs=node.inputs,
        output=node.output,
        attributes=node.attributes,
        clamp=clamp_int8(clamp, before),
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
