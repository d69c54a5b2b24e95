"""What GRU and LSTM share: a layer that reads its input step by step and what it said last.

Weights are [units * gates, features + hidden], a row for each gate of each unit in turn, so that a
unit is done once its rows are read. A row's sums over the input and over the last output are scaled
apart into values of 2^-12; the gates' functions come from one table of tanh.

    gate    = clamp((sum * multiplier + 2^(shift - 1)) >> shift), of the input and of the output
    hidden  = the last output, int8 in steps of 1/128; what a unit remembers has 16 bits or more
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import floor, log2
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from deepcompress.arith.qparams import LARGEST_WEIGHT, clamp_int8, find_grid, weight_scale
from deepcompress.ir.arrays import frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, Node, Quantization, Requantize, WeightedNode
from deepcompress.ops.operator import Operator, Shape
from deepcompress.ops.rearrange import Rearrange, merged

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall

    Streams = TypeVar("Streams", np.ndarray, torch.Tensor)

# By their names in aten.
RECURRENT = ("gru", "lstm")

OUTPUT = Quantization(1 / 128, 0)

_LARGEST_MULTIPLIER = 2**15 - 1
_LARGEST_SHIFT = 40
_BIAS_LIMIT = 2**29
GATE_ONE = 2**12
# Gates are within +-16 of these steps: there a sigmoid is 0 or 1, and a product with 2^15 fits.
_GATE_LIMIT = 2**16 - 1

# tanh(i / 16) * 2^15: dc_tanh_table in include/deepcompress/kernels/recurrent.h.
TANH_TABLE = np.minimum(np.round(np.tanh(np.arange(129) / 16) * 2**15), 2**15 - 1).astype(np.int64)


@dataclass(frozen=True)
class Recurrent(Attributes):
    """Attributes.

    Attributes:
        last: whether only the last of the `steps` outputs is wanted.
        stateful: whether a window goes on where the one before it ended.
        chunks: how many samples of a batch are consecutive windows of one stream.
    """

    features: int
    hidden: int
    steps: int
    last: bool = False
    stateful: bool = False
    chunks: int = 1


class RecurrentOperator(Operator[Recurrent, WeightedNode[Recurrent]]):
    keeps_bias_folded = True
    takes_scratch = True

    def output_shape(self, attributes: Recurrent, inputs: Sequence[Shape]) -> Shape:
        hidden = (attributes.hidden,)
        return hidden if attributes.last else (attributes.steps, *hidden)

    def c_parameters(
        self,
        node: WeightedNode[Recurrent],
        quantization: Sequence[Quantization],
        inputs: Sequence[Shape],
        output: Shape,
    ) -> dict[str, int]:
        """Fields of dc_recurrent in include/deepcompress/kernels/recurrent.h."""
        a = node.attributes
        return {
            "steps": a.steps,
            "features": a.features,
            "hidden": a.hidden,
            "last": int(a.last),
            "stateful": int(a.stateful),
        }

    def macs(self, attributes: Recurrent, weights: int, output: Shape) -> int:
        return weights * attributes.steps


def split_layers(call: AtenCall) -> list[AtenCall]:
    """A call for each of its layers, one behind the other."""
    if call["bidirectional"]:
        raise call.unsupported(
            f"nn.{call.aten.upper()} is supported in one direction", "Set bidirectional=False"
        )
    if not call.get("batch_first", False):
        raise call.unsupported(
            "its steps come first, but in what it reads the first axis is that of the samples",
            "Set batch_first=True, or write x.transpose(0, 1) before it",
        )
    starts = [array for name, array in call.constants.items() if name.startswith("hx")]
    if len(call.input_shapes) > 1 or any(map(np.any, starts)):
        raise call.unsupported("its state at the start is given", "Let it start from zeros")
    each = 4 if call["has_biases"] else 2
    weights = [array for name, array in call.constants.items() if name.startswith("params.")]
    layers = [weights[i : i + each] for i in range(0, len(weights), each)]
    if len(layers) != call["num_layers"]:
        raise call.unsupported("a projection of its output is not supported", "Set proj_size=0")
    names = [f"{call.layer}.{i}" for i in range(len(layers) - 1)] + [call.layer]
    return [_one_layer(call, *layer) for layer in zip(names, layers, strict=True)]


def _one_layer(call: AtenCall, name: str, weights: list[np.ndarray]) -> AtenCall:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    arguments = {**call.arguments, "num_layers": 1}
    constants = dict(zip(names, weights, strict=False))
    return replace(call, layer=name, arguments=arguments, constants=constants)


def read_weights(
    call: AtenCall, gates: int
) -> tuple[Recurrent, np.ndarray, np.ndarray, np.ndarray]:
    """Attributes, weight [units * gates, features + hidden], both biases [units, gates]."""
    of_input, of_hidden = call.constant("weight_ih"), call.constant("weight_hh")
    hidden = of_hidden.shape[1]
    zeros = np.zeros(gates * hidden, np.float32)
    biases = [call.constants.get(name, zeros) for name in ("bias_ih", "bias_hh")]
    weight = _unit_by_unit(np.concatenate([of_input, of_hidden], axis=1), gates)
    steps = call.input_shape[0]
    attributes = Recurrent(of_input.shape[1], hidden, steps)
    units = [_unit_by_unit(bias, gates).reshape(hidden, gates) for bias in biases]
    return attributes, weight, *units


def _unit_by_unit(rows: np.ndarray, gates: int) -> np.ndarray:
    """[gates * units, ...] as [units * gates, ...]."""
    apart = rows.reshape(gates, -1, *rows.shape[1:]).swapaxes(0, 1)
    return np.ascontiguousarray(apart.reshape(rows.shape))


def last_step(attributes: Recurrent) -> Rearrange:
    """Of all outputs the last."""
    size, before = attributes.hidden, attributes.hidden * (attributes.steps - 1)
    return Rearrange("last step", before + size, before, merged([(size, 1)]), (size,))


def gate_by_gate(rows: torch.Tensor, gates: int) -> torch.Tensor:
    """[units * gates, ...] as [gates * units, ...], as torch has it."""
    return rows.unflatten(0, (-1, gates)).transpose(0, 1).flatten(0, 1)


def quantize(
    node: Node[Recurrent], before: Quantization, hidden_bias: np.ndarray | None = None
) -> WeightedNode[Recurrent]:
    """The node in integers.

    Args:
        hidden_bias: float [units], of each unit's last gate's sum over the last output.
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
    """What reads the input, or what reads the last output: one of each a row.

    Attributes:
        factor: from a sum to a gate, float64.
    """

    weight: np.ndarray
    bias: np.ndarray
    factor: np.ndarray


def _half(weight: np.ndarray, bias: np.ndarray, by: Quantization, grid: float | None) -> _Half:
    bias = bias.astype(np.float64)
    least = np.abs(bias) / (by.scale * _BIAS_LIMIT)
    on_grid = grid is not None and grid >= least.max()
    scale = np.full(len(weight), grid) if on_grid else weight_scale(weight, least)
    stored = np.clip(np.round(weight / scale[:, None]), -LARGEST_WEIGHT, LARGEST_WEIGHT)
    folded = np.round(bias / (by.scale * scale)) - by.zero_point * stored.sum(axis=1)
    return _Half(stored.astype(np.int8), folded.astype(np.int32), scale * by.scale * GATE_ONE)


def _shift(largest: float) -> int:
    """Such that the multiplier of the largest factor has 15 bits."""
    return int(np.clip(floor(log2(_LARGEST_MULTIPLIER / largest)), 1, _LARGEST_SHIFT))


def _multipliers(factors: np.ndarray, shift: int) -> np.ndarray:
    return frozen(np.minimum(np.round(factors * 2.0**shift), _LARGEST_MULTIPLIER).astype(np.int32))


def gates(
    node: WeightedNode[Recurrent], x: np.ndarray, hidden: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What all gates of a step make of its input, and of the last output.

    Args:
        x, hidden: int8 [batch, features] and [batch, units].

    Returns:
        int64 [gates, batch, units], in steps of 2^-12, each.
    """
    a, weight = node.attributes, node.weight
    bias_over_last = np.zeros((a.hidden, len(weight) // a.hidden), np.int64)
    if any(table.name == "hidden_bias" for table in node.tables):
        bias_over_last[:, -1] = node.table("hidden_bias")
    of_input = _sums(x, weight[:, : a.features]) + node.bias
    of_hidden = _sums(hidden, weight[:, a.features :]) + bias_over_last.ravel()

    def scaled(sums: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
        shift = node.requantize.shift
        rounded = (sums * multiplier.astype(np.int64) + (1 << (shift - 1))) >> shift
        limited = np.clip(rounded, -_GATE_LIMIT, _GATE_LIMIT)
        return limited.reshape(len(x), *bias_over_last.shape).transpose(2, 0, 1)

    return (
        scaled(of_input, node.multiplier),
        scaled(of_hidden, node.table("hidden_multiplier")),
    )


def _sums(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Summed in float64, which is exact below 2**53."""
    return (values.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)


def tanh(gate: np.ndarray) -> np.ndarray:
    """int64 in steps of 2^-15, of steps of 2^-12: `dc_tanh`, bit for bit."""
    size = np.minimum(np.abs(gate), 2**15 - 1)
    at, between = size >> 8, size & 255
    below = TANH_TABLE[at]
    return np.sign(gate) * (below + (((TANH_TABLE[at + 1] - below) * between + 128) >> 8))


def sigmoid(gate: np.ndarray) -> np.ndarray:
    """The same for a sigmoid, 0 .. 2^15 - 1, which is (1 + tanh(gate / 2)) / 2: `dc_sigmoid`."""
    return (tanh(gate >> 1) + 2**15) >> 1


def run(
    node: WeightedNode[Recurrent],
    x: np.ndarray,
    step: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """All outputs, or the last; int8.

    Args:
        x: int8 [batch, steps, features].
        step: from a step's input and the last output, int8 both, to the next output in 2^-15.
    """
    a = node.attributes
    streams = x.reshape(-1, a.chunks * a.steps, a.features)
    hidden, outputs = np.zeros((len(streams), a.hidden), np.int8), []
    for i in range(streams.shape[1]):
        hidden = np.clip((step(streams[:, i], hidden) + 128) >> 8, -128, 127).astype(np.int8)
        outputs.append(np.clip(hidden, *node.clamp))
    return windows(a, np.stack(outputs, axis=1))


def windows(a: Recurrent, outputs: Streams) -> Streams:
    """What each window of a batch says, of all outputs of its streams, [streams, steps, hidden]."""
    outputs = outputs.reshape(-1, a.steps, a.hidden)
    return outputs[:, -1] if a.last else outputs
