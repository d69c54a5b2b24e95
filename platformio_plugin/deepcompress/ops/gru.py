"""GRU: one layer, one direction, over the steps of a window.

r, z = sigmoid(gates of the input + gates of the last output)
n    = tanh(gate of the input + r * gate of the last output)
h    = n + z * (h - n), 16 bits in steps of 2^-15; the output is its upper byte
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range
from deepcompress.ir.graph import IntegerNode, Node, Quantization
from deepcompress.ops import recurrent
from deepcompress.ops.recurrent import (
    Recurrent,
    c_parameters,
    macs,
    output_shape,
    sigmoid,
    start_byte,
    tanh,
)

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call

__all__ = ["c_parameters", "macs", "output_shape", "start_byte"]

ATEN = ("gru",)
KEEPS_BIAS_FOLDED = True

_GATES = 3


def read(call: Call) -> tuple[Recurrent, dict[str, np.ndarray]]:
    attributes, weight, bias, hidden_bias = recurrent.read_weights(call, _GATES)
    # Where nothing comes between the two sums, one bias does for both.
    bias = np.concatenate([bias[:, :2] + hidden_bias[:, :2], bias[:, 2:]], axis=1)
    parameters = {"weight": weight, "bias": bias.ravel(), "hidden_bias": hidden_bias[:, 2]}
    return attributes, parameters


def describe(a: Recurrent) -> str:
    return f"GRU {a.features}->{a.hidden}"


def forward(a: Recurrent, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch

    weight, bias = (recurrent.gate_by_gate(parameters[k], _GATES) for k in ("weight", "bias"))
    hidden_bias = torch.cat([bias.new_zeros(2 * a.hidden), parameters["hidden_bias"]])
    weights = [weight[:, : a.features], weight[:, a.features :], bias, hidden_bias]
    streams = x.reshape(-1, a.pieces * a.steps, a.features)
    zeros = x.new_zeros(1, streams.shape[0], a.hidden)
    outputs, _ = torch.gru(streams, zeros, weights, True, 1, 0.0, False, False, True)
    return recurrent.windows(a, outputs)


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    bias = node.parameters["hidden_bias"]
    return recurrent.quantize(node, inputs[0], hidden_bias=bias), recurrent.OUTPUT


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """x: int8 [batch, steps, features]."""
    a = node.attributes
    state = np.zeros((len(x) // a.pieces, a.hidden), np.int64)

    def step(values: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        nonlocal state
        of_input, of_hidden = recurrent.gates(node, values, hidden)
        reset, update = (sigmoid(of_input[k] + of_hidden[k]) for k in (0, 1))
        fresh = tanh(of_input[2] + ((reset * of_hidden[2] + 2**14) >> 15))
        state = fresh + ((update * (state - fresh) + 2**14) >> 15)
        return state

    return recurrent.run(node, x, step)


def scratch_bytes(a: Recurrent, shape: tuple[int, ...]) -> int:
    """The state, the last output and the next one."""
    return (2 + 1 + 1) * a.hidden
