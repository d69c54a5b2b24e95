"""What GRU and LSTM share: layers that process one time step after another.

The weights are [units * gates, features + hidden]. The rows of a unit's gates follow each other,
so the kernel finishes one unit after another. The sums over the input and over the previous output
have a multiplier each, to fixed point in steps of 2^-12. The gate functions are computed from one
table of tanh.

    gate    = clamp((sum * multiplier + 2^(shift - 1)) >> shift), for input and previous output
    hidden  = the previous output, int8 in steps of 1/128; the internal state has 16 bits or more
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import floor, log2
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from deepcompress.arith.qparams import LARGEST_WEIGHT, clamp_int8, find_grid, weight_scale
from deepcompress.errors import setting
from deepcompress.ir.arrays import (
    AnyArray,
    Float32Array,
    Float64Array,
    FloatArray,
    Int8Array,
    Int32Array,
    Int64Array,
    IntArray,
    frozen,
)
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, Node, Quantization, Requantize, WeightedNode
from deepcompress.ops.operator import Operator, Shape
from deepcompress.ops.rearrange import Rearrange, merged

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall

    Streams = TypeVar("Streams", AnyArray, torch.Tensor)

# Names of the operators, which are also aten names.
RECURRENT = ("gru", "lstm")

OUTPUT = Quantization(1 / 128, 0)

_LARGEST_MULTIPLIER = 2**15 - 1
_LARGEST_SHIFT = 40
_BIAS_LIMIT = 2**29
GATE_ONE = 2**12
# Gates are limited to +-16.0, where a sigmoid is 0 or 1 and a product with 2^15 fits 32 bits.
_GATE_LIMIT = 2**16 - 1

# tanh(i / 16) * 2^15: dc_tanh_table in include/deepcompress/kernels/recurrent.h.
TANH_TABLE = np.minimum(np.round(np.tanh(np.arange(129) / 16) * 2**15), 2**15 - 1).astype(np.int64)


@dataclass(frozen=True)
class Recurrent(Attributes):
    """Attributes.

    Attributes:
        features: size of one time step of the input.
        hidden: number of units.
        steps: number of time steps of one inference.
        last: whether the output is that of the last time step only.
        stateful: whether an inference continues with the state of the previous one.
        chunks: how many consecutive samples of a batch belong to one stream.
    """

    features: int
    hidden: int
    steps: int
    last: bool = False
    stateful: bool = False
    chunks: int = 1

    def in_chunks(self, chunks: int) -> Recurrent:
        return replace(self, chunks=chunks) if self.stateful else self


class RecurrentOperator(Operator[Recurrent, WeightedNode[Recurrent]]):
    """What is equal in both operators."""

    has_columns = True

    def output_shape(self, attributes: Recurrent, inputs: Sequence[Shape]) -> Shape:
        hidden = (attributes.hidden,)
        return hidden if attributes.last else (attributes.steps, *hidden)

    def columns(self, a: Recurrent, *values: torch.Tensor) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        x, outputs = values
        streams = x.reshape(-1, a.chunks * a.steps, a.features)
        before = F.pad(outputs.reshape(len(streams), -1, a.hidden), (0, 0, 1, -1))
        return torch.cat([streams, before], 2).reshape(1, -1, a.features + a.hidden)

    def macs(self, attributes: Recurrent, weights: int, output: Shape) -> int:
        return weights * attributes.steps


def split_layers(call: AtenCall) -> list[AtenCall]:
    """One call per layer of a recurrent module, in the order of the layers.

    Raises:
        UserError: it is time-major, has an initial state or a projection.
    """
    if not call.get("batch_first", False):
        raise call.unsupported(
            "its first axis is time, but the first axis of its input is the batch",
            "Set batch_first=True, or write x.transpose(0, 1) before it",
        )
    starts = [array for name, array in call.constants.items() if name.startswith("hx")]
    if len(call.input_shapes) > 1 or any(map(np.any, starts)):
        raise call.unsupported(
            "it starts from a state that is not zero",
            "If the state is that of the inference before it, take it as an input of the network, "
            f"return the last state, and set {setting('stateful', 'yes')}. If it is that of the "
            "step before it, in a loop over a cell, use one nn.GRU or nn.LSTM with the weights of "
            "the cell for all steps. Else train the network to start from zeros",
        )
    per_layer = 4 if call["has_biases"] else 2
    weights = [array for name, array in call.constants.items() if name.startswith("params.")]
    layers = [weights[i : i + per_layer] for i in range(0, len(weights), per_layer)]
    if call["bidirectional"] or len(layers) != call["num_layers"]:
        raise call.unsupported("a projection of its output is not supported", "Set proj_size=0")
    names = [f"{call.layer}.{i}" for i in range(len(layers) - 1)] + [call.layer]
    return [_one_layer(call, *layer) for layer in zip(names, layers, strict=True)]


def _one_layer(call: AtenCall, name: str, weights: list[Float32Array]) -> AtenCall:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    arguments = {**call.arguments, "num_layers": 1}
    constants = dict(zip(names, weights, strict=False))
    return replace(call, layer=name, arguments=arguments, constants=constants)


def read_weights(
    call: AtenCall, gates: int
) -> tuple[Recurrent, Float32Array, Float32Array, Float32Array]:
    """Attributes, weight and biases of one layer.

    Returns:
        The attributes; float32 [units * gates, features + hidden]; and the biases of the input and
        of the previous output, float32 [units, gates].
    """
    of_input, of_hidden = call.constant("weight_ih"), call.constant("weight_hh")
    hidden = of_hidden.shape[1]
    weight = _unit_major(np.concatenate([of_input, of_hidden], axis=1), gates)
    attributes = Recurrent(of_input.shape[1], hidden, call.input_shape[0])

    def bias(name: str) -> Float32Array:
        values = call.constants.get(name, np.zeros(gates * hidden, np.float32))
        return _unit_major(values, gates).reshape(hidden, gates)

    return attributes, weight, bias("bias_ih"), bias("bias_hh")


def _unit_major(rows: Float32Array, gates: int) -> Float32Array:
    """[gates * units, ...] reordered to [units * gates, ...]."""
    by_unit = rows.reshape(gates, -1, *rows.shape[1:]).swapaxes(0, 1)
    return np.ascontiguousarray(by_unit.reshape(rows.shape))


def last_step(attributes: Recurrent) -> Rearrange:
    """The rearrangement that selects the last of all outputs."""
    size, offset = attributes.hidden, attributes.hidden * (attributes.steps - 1)
    return Rearrange("last step", offset + size, offset, merged([(size, 1)]), (size,))


def gate_major(rows: torch.Tensor, gates: int) -> torch.Tensor:
    """[units * gates, ...] reordered to torch's [gates * units, ...]."""
    return rows.reshape(-1, gates, *rows.shape[1:]).transpose(0, 1).flatten(0, 1)


def quantize(
    node: Node[Recurrent], before: Quantization, hidden_bias: Float32Array | None = None
) -> WeightedNode[Recurrent]:
    """The node in integers.

    Args:
        hidden_bias: float [units], added to the last gate's sums over the previous output.
    """
    a, weight = node.attributes, node.parameters["weight"].astype(np.float64)
    bias_over_last = np.zeros((a.hidden, len(weight) // a.hidden))
    if hidden_bias is not None:
        bias_over_last[:, -1] = hidden_bias
    grid = find_grid(weight)
    of_input = _half(weight[:, : a.features], node.parameters["bias"], before, grid)
    of_hidden = _half(weight[:, a.features :], bias_over_last.ravel(), OUTPUT, grid)
    shift = _shift(max(of_input.factor.max(), of_hidden.factor.max()))
    hidden_multiplier = _multipliers(of_hidden.factor, shift).astype(np.int16)
    shared = bool((hidden_multiplier == hidden_multiplier[0]).all())
    tables = {"hidden_multiplier": hidden_multiplier[:1] if shared else hidden_multiplier}
    if hidden_bias is not None:
        tables["hidden_bias"] = of_hidden.bias.reshape(bias_over_last.shape)[:, -1].copy()
    clamp = clamp_int8(node.clamp, OUTPUT)
    return WeightedNode(
        *node.identity,
        weight=frozen(np.concatenate([of_input.weight, of_hidden.weight], axis=1)),
        bias=frozen(of_input.bias),
        multiplier=_multipliers(of_input.factor, shift),
        requantize=Requantize(shift, 0, *clamp),
        clamp=clamp,
        fields={"shared": int(shared)},
        tables=tuple(
            Array(name, frozen(values), "of sums over the last output")
            for name, values in tables.items()
        ),
    )


@dataclass(frozen=True)
class _Half:
    """The part of the weights that multiplies the input, or that of the previous output.

    Attributes:
        weight: int8 [rows, columns].
        bias: int32 [rows], with the zero point folded in.
        factor: float64 [rows], from a sum to a gate in steps of 2^-12.
    """

    weight: Int8Array
    bias: Int32Array
    factor: Float64Array


def _half(weight: FloatArray, bias: FloatArray, by: Quantization, grid: float | None) -> _Half:
    """Quantizes one part of the weights, of inputs quantized `by`."""
    bias = bias.astype(np.float64)
    finest = np.abs(bias) / (by.scale * _BIAS_LIMIT)
    if grid is not None and grid >= finest.max():
        scale = np.full(len(weight), grid)
    else:
        scale = weight_scale(weight, finest)
    stored = np.clip(np.round(weight / scale[:, None]), -LARGEST_WEIGHT, LARGEST_WEIGHT)
    folded = np.round(bias / (by.scale * scale)) - by.zero_point * stored.sum(axis=1)
    return _Half(stored.astype(np.int8), folded.astype(np.int32), scale * by.scale * GATE_ONE)


def _shift(largest: float) -> int:
    """The shift with which the multiplier of the largest factor has 15 bits."""
    return int(np.clip(floor(log2(_LARGEST_MULTIPLIER / largest)), 1, _LARGEST_SHIFT))


def _multipliers(factors: Float64Array, shift: int) -> Int32Array:
    return frozen(np.minimum(np.round(factors * 2.0**shift), _LARGEST_MULTIPLIER).astype(np.int32))


def gates(
    node: WeightedNode[Recurrent], x: Int8Array, hidden: Int8Array
) -> tuple[Int64Array, Int64Array]:
    """The gates' sums over the input of a time step, and over the previous output.

    Args:
        x: int8 [batch, features].
        hidden: int8 [batch, units].

    Returns:
        Two int64 [gates, batch, units], in steps of 2^-12.
    """
    a, weight = node.attributes, node.weight
    bias_over_last = np.zeros((a.hidden, len(weight) // a.hidden), np.int64)
    if any(table.name == "hidden_bias" for table in node.tables):
        bias_over_last[:, -1] = node.table("hidden_bias")
    of_input = _sums(x, weight[:, : a.features]) + node.bias
    of_hidden = _sums(hidden, weight[:, a.features :]) + bias_over_last.ravel()

    def scaled(sums: Int64Array, multiplier: IntArray) -> Int64Array:
        shift = node.requantize.shift
        rounded = (sums * multiplier.astype(np.int64) + (1 << (shift - 1))) >> shift
        limited = np.clip(rounded, -_GATE_LIMIT, _GATE_LIMIT)
        by_gate: Int64Array = limited.reshape(len(x), *bias_over_last.shape).transpose(2, 0, 1)
        return by_gate

    return (
        scaled(of_input, node.multiplier),
        scaled(of_hidden, node.table("hidden_multiplier")),
    )


def _sums(values: Int8Array, weight: Int8Array) -> Int64Array:
    """Sums of products, computed in float64, which is exact below 2**53."""
    sums: Int64Array = (values.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)
    return sums


def tanh(gate: Int64Array) -> Int64Array:
    """tanh in steps of 2^-15, of a gate in steps of 2^-12; bit-exact to `dc_tanh` in C."""
    magnitude = np.minimum(np.abs(gate), 2**15 - 1)
    index, fraction = magnitude >> 8, magnitude & 255
    below = TANH_TABLE[index]
    interpolated = below + (((TANH_TABLE[index + 1] - below) * fraction + 128) >> 8)
    result: Int64Array = np.sign(gate) * interpolated
    return result


def sigmoid(gate: Int64Array) -> Int64Array:
    """sigmoid(gate) = (1 + tanh(gate / 2)) / 2, 0 .. 2^15 - 1; bit-exact to `dc_sigmoid` in C."""
    return (tanh(gate >> 1) + 2**15) >> 1


def run(
    node: WeightedNode[Recurrent],
    x: Int8Array,
    step: Callable[[Int8Array, Int8Array], Int64Array],
) -> Int8Array:
    """Runs a layer on a batch.

    Args:
        x: int8 [batch, steps, features].
        step: from a time step's input [streams, features] and the previous output [streams,
            units], both int8, to the next output [streams, units] in steps of 2^-15.

    Returns:
        int8 [batch, steps, units], or [batch, units] if only the last output is wanted.
    """
    a = node.attributes
    streams = x.reshape(-1, a.chunks * a.steps, a.features)
    hidden, outputs = np.zeros((len(streams), a.hidden), np.int8), []
    for i in range(streams.shape[1]):
        hidden = np.clip((step(streams[:, i], hidden) + 128) >> 8, -128, 127).astype(np.int8)
        outputs.append(np.clip(hidden, *node.clamp))
    return windows(a, np.stack(outputs, axis=1))


def windows(a: Recurrent, outputs: Streams) -> Streams:
    """The outputs of each sample, from all outputs of the streams [streams, steps, hidden]."""
    outputs = outputs.reshape(-1, a.steps, a.hidden)
    return outputs[:, -1] if a.last else outputs
