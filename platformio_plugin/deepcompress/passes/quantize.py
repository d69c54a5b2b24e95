"""Quantization: scales and zero points, int8 weights, int32 biases, requantization constants.

Weights are symmetric per output channel, activations affine per tensor (Jacob et al., arXiv
1712.05877; Krishnamoorthi, arXiv 1806.08342). Ranges are the extremes over the calibration data.
If the zero point of raw input bytes had to be rounded, the first layer's bias makes up for it.

To store constants in few bytes, the scale of a channel is the next one above the finest possible
whose requantization multiplier has few bits, and a bias is a multiple of a large power of two.
Weights that are multiples of a scale already, because the layer was trained or quantized so, keep
exactly this scale. Layers that share their weights keep one scale. A tensor whose range the model
file states keeps that range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

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
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward
from deepcompress.ir.arrays import Float32Array, Float64Array, frozen
from deepcompress.ir.batch_layout import parts
from deepcompress.ir.graph import (
    LARGEST_VALUE,
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

if TYPE_CHECKING:
    import torch

# A channel whose bias would be larger gets coarser weights, so that the accumulator fits int32.
_BIAS_LIMIT = 2**29
_BYTE_SHIFT = 16
# The most that the last bit of a stored bias is worth, in output steps.
_BIAS_STEP = 0.25
# A factor below it makes 0 of every accumulator, which is below 2**31.
_FINEST_FACTOR = 2.0**-32


@dataclass(frozen=True)
class _Input:
    """Quantization of a network input.

    Attributes:
        residual: the real value of an int8 that equals the zero point; 0 unless it was rounded.
    """

    quantization: Quantization
    byte_input: ByteInput | None = None
    residual: float = 0.0


def quantize(graph: Graph, calibration: Calibration, *, narrow: bool = False) -> IntegerGraph:
    """The graph in integers.

    Args:
        graph: fused.
        calibration: its inputs have the graph's input shape.
        narrow: give convolutions coarser weights if their sums then fit int16 and little accuracy
            is lost, for kernels that multiply two inputs at once.
    """
    return _Quantizer(graph, calibration, narrow=narrow).run()


class _Quantizer:
    """The walk over the nodes, and the integers found so far."""

    def __init__(self, graph: Graph, calibration: Calibration, *, narrow: bool) -> None:
        self.graph, self.narrow = graph, narrow
        observed = observe_ranges(graph, calibration.inputs)
        self.ranges = share_ranges(graph, observed) | dict(graph.ranges)
        self.inputs = {
            name: _quantize_input(
                self.ranges[name], calibration.byte_scaling, stated=name in graph.ranges
            )
            for name in graph.inputs
        }
        self.tied = _tied(graph)
        self.quantization = {name: source.quantization for name, source in self.inputs.items()}
        self.tensors = dict(graph.tensors)
        self.nodes: list[IntegerNode] = []

    def run(self) -> IntegerGraph:
        for node in self.graph.nodes:
            integer, self.quantization[node.output] = self._quantize(
                self._with_one_scale(node) if keeps_scale(node) else node
            )
            self.nodes.append(integer)
        return IntegerGraph(
            name=self.graph.name,
            tensors=self.tensors,
            quantization=self.quantization,
            nodes=tuple(self.nodes),
            inputs=self.graph.inputs,
            outputs=self.graph.outputs,
            byte_input=self.inputs[self.graph.inputs[0]].byte_input,
        )

    def _quantize(self, node: Node) -> tuple[IntegerNode, Quantization]:
        operator, observed = OPERATORS[node.op], self.ranges[node.output]
        scales = [self.quantization[name] for name in node.inputs]
        if not isinstance(operator, WeightedOperator):
            integer, after = operator.quantize(node, scales, observed)
            return integer, after
        source = self.inputs.get(node.inputs[0])
        return _quantize_weighted(
            node,
            scales[0],
            observed,
            source.residual if source else 0.0,
            narrow=self.narrow and node.op == "conv2d",
            tied=node.name in self.tied,
        )

    def _with_one_scale(self, node: Node) -> Node:
        """The node with inputs of one scale; a requantization is put before each of another scale.

        Scales differ if one is given, as that of raw bytes, or if a finer one would resolve noise.
        """
        scales = [self.quantization[name] for name in node.inputs]
        measured = node.output not in self.graph.ranges
        if measured and len(set(scales)) == 1:
            return node
        common = affine(*self.ranges[node.output])
        inputs = tuple(self._in_scale(name, common, reader=node) for name in node.inputs)
        return replace(node, inputs=inputs)

    def _in_scale(self, tensor: str, scale: Quantization, *, reader: Node) -> str:
        """The name of a tensor of the same values in a scale; adds the node that computes it."""
        if self.quantization[tensor] == scale:
            return tensor
        name = f"{reader.output}.{tensor}"
        if name not in self.tensors:  # a node may read a tensor twice
            self.tensors[name] = Tensor(name, self.tensors[tensor].shape)
            rescaling = scale_shift.rescale(
                f"{reader.name}.{tensor}",
                tensor,
                self.tensors[name],
                self.quantization[tensor],
                scale,
            )
            self.quantization[name] = scale
            self.nodes.append(rescaling)
        return name


def observe_ranges(graph: Graph, inputs: Float32Array) -> dict[str, Range]:
    """Least and greatest value of every tensor over the inputs, by tensor name.

    Results of a function of one value, such as log(0), may be infinite or not defined; then they
    count as 0.

    Raises:
        UserError: a layer's results are not finite, or too large for float32 arithmetic.
    """
    import torch

    ranges: dict[str, Range] = {}

    def observe(name: str, value: torch.Tensor) -> None:
        node = graph.producer(name)
        if node is not None and node.op == "lookup":
            value = value.nan_to_num(0.0, torch.inf, -torch.inf)
        elif not float(value.abs().max()) <= LARGEST_VALUE:  # NaN is not
            raise _out_of_range(name, node, value)
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = min(low, float(value.min())), max(high, float(value.max()))

    with torch.no_grad():
        for part in parts(graph, inputs):
            forward(graph, torch.from_numpy(part), observe=observe)
    return ranges


def _out_of_range(name: str, node: Node | None, value: torch.Tensor) -> UserError:
    finite = bool(value.isfinite().all())
    largest = f"up to {float(value.abs().max()):.3g}" if finite else "NaN or infinity"
    return UserError(
        f"its values are {largest} for the calibration data",
        f"layer {node.name}" if node else f"input {name}",
        "Check these data, which are random numbers if none are named, and the weights; or clamp "
        "the values in the model, also before log, sqrt and a division",
    )


def share_ranges(graph: Graph, ranges: dict[str, Range]) -> dict[str, Range]:
    """The ranges, with one range for all tensors of operators that must have one scale.

    The layers that compute the inputs of a concatenation then use the scale of its output, and
    their outputs need not be requantized.
    """
    parent = {name: name for name in ranges}

    def group(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for node in filter(keeps_scale, graph.nodes):
        for name in node.inputs:
            parent[group(name)] = group(node.output)
    shared: dict[str, Range] = {}
    for name, (low, high) in ranges.items():
        least, greatest = shared.get(group(name), (low, high))
        shared[group(name)] = min(least, low), max(greatest, high)
    return {name: shared[group(name)] for name in ranges}


def _tied(graph: Graph) -> set[str]:
    """Names of layers that have the same weights as another, and so must have its scale."""
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
    """One scaling for all channels: the int8 is exactly the byte minus 128."""
    zero_point = int(np.clip(round(zero) - 128, -128, 127))
    return _Input(
        Quantization(float(np.float32(scale)), zero_point),
        ByteInput(np.array([1], np.int32), np.array([-128], np.int32), 0),
        residual=scale * (zero_point + 128 - zero),
    )


@dataclass(frozen=True)
class _Scales:
    """Quantization of a weighted layer, per output channel.

    Attributes:
        weight: float64 [channels], the real value of a weight of 1.
        factor: float64 [channels], of requantization: output steps per unit of the accumulator.
        output: quantization of the layer's output.
    """

    weight: Float64Array
    factor: Float64Array
    output: Quantization


def _quantize_weighted(
    node: Node,
    before: Quantization,
    observed: Range,
    residual: float,
    *,
    narrow: bool,
    tied: bool,
) -> tuple[WeightedNode, Quantization]:
    """A layer with a weight matrix in integers, and the quantization of its output.

    Args:
        before: quantization of the input.
        residual: real value of the input that an int8 of its zero point stands for.
        narrow: see `quantize`.
        tied: another layer has the same weights, so the weights may not be scaled for this one.
    """
    weight = node.parameters["weight"].astype(np.float64)
    weight = weight.reshape(len(weight), -1)
    bias = node.parameters["bias"].astype(np.float64)
    least_scale = np.abs(bias) / (before.scale * _BIAS_LIMIT)
    scales = _choose_scales(weight, least_scale, before, observed, narrow=narrow, tied=tied)
    multiplier, shift = choose_multipliers(scales.factor)

    steps = np.round(weight / scales.weight[:, None])
    weight_q = np.clip(steps, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8)
    sums = weight_q.sum(axis=1, dtype=np.int64)
    bias_unit = _bias_unit(scales.factor)
    bias_q = bias / (before.scale * scales.weight) + residual / before.scale * sums
    bias_q = np.round(bias_q / bias_unit).astype(np.int64) * bias_unit - before.zero_point * sums
    minimum, maximum = clamp_int8(node.clamp, scales.output)
    integer = WeightedNode(
        *node.identity,
        weight=frozen(weight_q),
        bias=frozen(bias_q.astype(np.int32)),
        multiplier=frozen(multiplier),
        requantize=Requantize(shift, scales.output.zero_point, minimum, maximum),
        clamp=(minimum, maximum),
    )
    return integer, scales.output


def _choose_scales(
    weight: Float64Array,
    least_scale: Float64Array,
    before: Quantization,
    observed: Range,
    *,
    narrow: bool,
    tied: bool,
) -> _Scales:
    """Scales of weights that are on a grid already are kept; others get short multipliers."""
    grids = _find_grids(weight, least_scale, narrow=narrow)
    if grids is None and narrow:
        least_scale = np.maximum(least_scale, narrow_scale(weight))
    scale = weight_scale(weight, least_scale) if grids is None else grids
    # An output step finer than the accumulator's unit would resolve the accumulator's noise only.
    output = affine(*observed, finest=float(before.scale * scale.max()))
    factor = np.minimum(before.scale * scale / output.scale, 1.0)
    if grids is None and not tied:
        factor = round_up_factors(factor)
        scale = factor * output.scale / before.scale
    return _Scales(scale, factor, output)


def _find_grids(
    weight: Float64Array, least_scale: Float64Array, *, narrow: bool
) -> Float64Array | None:
    """Scales of which all weights are multiples, if there are such; narrow ones are preferred."""
    if narrow:
        grids = find_grids(weight, np.maximum(least_scale, narrow_bound(weight)))
        if grids is not None:
            return grids.astype(np.float64, copy=False)
    grids = find_grids(weight, least_scale)
    return None if grids is None else grids.astype(np.float64, copy=False)


def _bias_unit(factor: Float64Array) -> int:
    """The largest power of two of accumulator units within `_BIAS_STEP` in every channel."""
    exponent = int(np.floor(np.log2(_BIAS_STEP / max(float(factor.max()), _FINEST_FACTOR))))
    return 1 << max(0, exponent)
