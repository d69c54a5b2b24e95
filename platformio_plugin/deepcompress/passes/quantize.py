"""From float to integers: scales and zero points, int8 weights, int32 biases, requantize constants.

Weights are symmetric per output channel, activations affine per tensor (Jacob et al., arXiv
1712.05877; Krishnamoorthi, arXiv 1806.08342). Ranges are the extremes over the calibration data.
What rounding a zero point of raw bytes loses is put into the first layer's bias.

So that constants take few bytes, a channel's scale is the next one above the finest possible whose
requantize multiplier has few bits, and a bias is a multiple of a large power of two. A layer whose
weights are multiples of a scale already, because it was trained or quantized so, keeps exactly
these; layers that share their weights keep one scale. A tensor whose scale the file states, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepcompress.arith.qparams import (
    LARGEST_WEIGHT,
    Range,
    affine,
    clamp_int8,
    find_grids,
    narrow_bound,
    narrow_scale,
    weight_scale,
)
from deepcompress.arith.requantize import choose_multipliers, round_up_factors
from deepcompress.data.byte_scaling import ByteScaling
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward
from deepcompress.ir.arrays import frozen
from deepcompress.ir.batch_layout import parts
from deepcompress.ir.graph import (
    ByteInput,
    Graph,
    IntegerGraph,
    IntegerNode,
    Node,
    Quantization,
    Requantize,
    Tensor,
    WeightedNode,
)
from deepcompress.ops import OPERATORS, keeps_scale, scale_shift
from deepcompress.ops.operator import WeightedOperator

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
    ranges = share_ranges(graph, observe_ranges(graph, calibration.inputs)) | dict(graph.ranges)
    given = {
        name: _quantize_input(ranges[name], calibration.byte_scaling, stated=name in graph.ranges)
        for name in graph.inputs
    }
    tied = _tied(graph)
    quantization = {name: by.quantization for name, by in given.items()}
    tensors = dict(graph.tensors)
    nodes: list[IntegerNode] = []
    for node in graph.nodes:
        if keeps_scale(node):
            scales = [quantization[name] for name in node.inputs]
            measured = node.output not in graph.ranges
            common = (
                scales[0] if measured and len(set(scales)) == 1 else affine(*ranges[node.output])
            )
            node = _with_one_scale(node, common, tensors, quantization, nodes)
        before = quantization[node.inputs[0]]
        operator = OPERATORS[node.op]
        if not isinstance(operator, WeightedOperator):
            scales = [quantization[name] for name in node.inputs]
            integer, after = operator.quantize(node, scales, ranges[node.output])
        else:
            residual = given[node.inputs[0]].residual if node.inputs[0] in given else 0.0
            integer, after = _quantize_weighted(
                node,
                before,
                ranges[node.output],
                residual,
                narrow=narrow and node.op == "conv2d",
                tied=node.name in tied,
            )
        quantization[node.output] = after
        nodes.append(integer)
    return IntegerGraph(
        name=graph.name,
        tensors=tensors,
        quantization=quantization,
        nodes=tuple(nodes),
        inputs=graph.inputs,
        outputs=graph.outputs,
        byte_input=given[graph.inputs[0]].byte_input,
    )


def observe_ranges(graph: Graph, inputs: np.ndarray) -> dict[str, Range]:
    """Least and greatest value of every tensor over the inputs, by tensor name."""
    import torch

    ranges: dict[str, Range] = {}

    def observe(name: str, value: torch.Tensor) -> None:
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = min(low, float(value.min())), max(high, float(value.max()))

    with torch.no_grad():
        for part in parts(graph, inputs):
            forward(graph, torch.from_numpy(part), observe=observe)
    return ranges


def share_ranges(graph: Graph, ranges: dict[str, Range]) -> dict[str, Range]:
    """The ranges, one for all tensors between which values are moved as they are.

    So what computes the parts of a concatenation gives them its scale, and they need not be
    requantized.
    """
    group = {name: name for name in ranges}
    for node in filter(keeps_scale, graph.nodes):
        joined = {group[name] for name in (*node.inputs, node.output)}
        group = {name: min(joined) if g in joined else g for name, g in group.items()}
    shared: dict[str, Range] = {}
    for name, (low, high) in ranges.items():
        least, greatest = shared.get(group[name], (low, high))
        shared[group[name]] = min(least, low), max(greatest, high)
    return {name: shared[group[name]] for name in ranges}


def _with_one_scale(
    node: Node,
    common: Quantization,
    tensors: dict[str, Tensor],
    quantization: dict[str, Quantization],
    nodes: list[IntegerNode],
) -> Node:
    """The node with inputs of this scale: those that have another are requantized before it.

    That is so where a scale is given, as that of raw bytes, or where a finer one would be noise.
    """
    inputs = []
    for name in node.inputs:
        by = quantization[name]
        if by != common:
            source, name = name, f"{node.output}.{name}"
            if name not in tensors:  # a tensor may be joined twice
                tensors[name] = Tensor(name, tensors[source].shape)
                quantization[name] = common
                nodes.append(
                    scale_shift.rescale(f"{node.name}.{source}", source, tensors[name], by, common)
                )
        inputs.append(name)
    return replace(node, inputs=tuple(inputs))


def _tied(graph: Graph) -> set[str]:
    """Layers that share their weights with others, for all of which one scale must do."""
    layers: dict[tuple[str, bytes], list[str]] = {}
    for node in graph.nodes:
        if "weight" in node.parameters:
            key = node.op, node.parameters["weight"].tobytes()
            layers.setdefault(key, []).append(node.name)
    return {name for names in layers.values() if len(names) > 1 for name in names}


def _quantize_input(observed: Range, scaling: ByteScaling | None, *, stated: bool) -> _Input:
    if scaling is None:
        return _Input(affine(*observed))
    if stated:
        return _bytes_in_scale(scaling, affine(*observed))
    if len(scaling.scale) == 1 or (np.ptp(scaling.scale) == 0 and np.ptp(scaling.zero) == 0):
        return _quantize_plain_bytes(float(scaling.scale[0]), float(scaling.zero[0]))
    low, high = scaling.scale * -scaling.zero, scaling.scale * (255 - scaling.zero)
    return _bytes_in_scale(scaling, affine(float(low.min()), float(high.max())))


def _bytes_in_scale(scaling: ByteScaling, chosen: Quantization) -> _Input:
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
    node: Node,
    before: Quantization,
    observed: Range,
    residual: float,
    *,
    narrow: bool,
    tied: bool,
) -> tuple[IntegerNode, Quantization]:
    weight = node.parameters["weight"].astype(np.float64)
    weight = weight.reshape(len(weight), -1)
    bias = node.parameters["bias"].astype(np.float64)

    least_scale = np.abs(bias) / (before.scale * _BIAS_LIMIT)
    grids = find_grids(weight, np.maximum(least_scale, narrow_bound(weight))) if narrow else None
    if grids is None:
        grids = find_grids(weight, least_scale)
    if narrow and grids is None:
        least_scale = np.maximum(least_scale, narrow_scale(weight))
    on_grid = grids is not None
    scale = grids if on_grid else weight_scale(weight, least_scale)

    # An output step finer than the accumulator's own would only multiply its noise.
    after = affine(*observed, finest=float(before.scale * scale.max()))
    factors = np.minimum(before.scale * scale / after.scale, 1.0)
    if not (on_grid or tied):
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
    integer = WeightedNode(
        *node.identity,
        weight=frozen(weight_q),
        bias=frozen(bias_q.astype(np.int32)),
        multiplier=frozen(multiplier),
        requantize=Requantize(shift, after.zero_point, minimum, maximum),
        clamp=(minimum, maximum),
    )
    return integer, after


def _bias_unit(factors: np.ndarray) -> int:
    """The largest power of two of accumulator units within `_BIAS_STEP` in every channel."""
    return 2 ** max(0, int(np.floor(np.log2(_BIAS_STEP / factors.max()))))
