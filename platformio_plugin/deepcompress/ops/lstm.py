"""LSTM: one layer, one direction, over the steps of a window.

i, f, o = sigmoid(gates), g = tanh(gate); gates are those of the input + those of the last output
c       = f * c + i * g, 32 bits in steps of 2^-15
h       = o * tanh(c), of which the output is the upper byte
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

ATEN = ("lstm",)
KEEPS_BIAS_FOLDED = True

_GATES = 4
# Beyond this, in steps of 2^-15, a cell counts no further: +-2^15.
_CELL_LIMIT = 2**30


def read(call: Call) -> tuple[Recurrent, dict[str, np.ndarray]]:
    attributes, weight, bias, hidden_bias = recurrent.read_weights(call, _GATES)
    return attributes, {"weight": weight, "bias": (bias + hidden_bias).ravel()}


def describe(a: Recurrent) -> str:
    return f"LSTM {a.features}->{a.hidden}"


def forward(a: Recurrent, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch

    weight, bias = (recurrent.gate_by_gate(parameters[k], _GATES) for k in ("weight", "bias"))
    weights = [weight[:, : a.features], weight[:, a.features :], bias, torch.zeros_like(bias)]
    streams = x.reshape(-1, a.pieces * a.steps, a.features)
    zeros = x.new_zeros(1, streams.shape[0], a.hidden)
    outputs, _, _ = torch.lstm(streams, (zeros, zeros), weights, True, 1, 0.0, False, False, True)
    return recurrent.windows(a, outputs)


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    return recurrent.quantize(node, inputs[0]), recurrent.OUTPUT


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """x: int8 [batch, steps, features]."""
    a = node.attributes
    cell = np.zeros((len(x) // a.pieces, a.hidden), np.int64)

    def step(values: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        nonlocal cell
        of_input, of_hidden = recurrent.gates(node, values, hidden)
        enter, forget, fresh, leave = of_input + of_hidden
        products = sigmoid(forget) * cell + sigmoid(enter) * tanh(fresh)
        cell = np.clip((products + 2**14) >> 15, -_CELL_LIMIT, _CELL_LIMIT)
        return (sigmoid(leave) * tanh((cell + 4) >> 3) + 2**14) >> 15

    return recurrent.run(node, x, step)


def scratch_bytes(a: Recurrent, shape: tuple[int, ...]) -> int:
    """The cells, the last output and the next one."""
    return (4 + 1 + 1) * a.hidden
