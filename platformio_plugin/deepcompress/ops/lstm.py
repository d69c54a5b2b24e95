"""LSTM: one layer, one direction, over the time steps of a window.

i, f, o = sigmoid(gate), g = tanh(gate); gate = gate of the input + gate of the previous output
c       = f * c + i * g, 32 bits in steps of 2^-15
h       = o * tanh(c); the output is its upper byte
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range
from deepcompress.ir.arrays import Int8Array, Int64Array
from deepcompress.ir.graph import Node, Quantization, WeightedNode
from deepcompress.ops import recurrent
from deepcompress.ops.operator import Parameters, TorchParameters
from deepcompress.ops.recurrent import Recurrent, RecurrentOperator, sigmoid, tanh

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall

_GATES = 4
# A cell saturates at +-2^15, in steps of 2^-15.
_CELL_LIMIT = 2**30


class LSTMOperator(RecurrentOperator):
    aten = ("lstm",)

    def read(self, call: AtenCall) -> tuple[Recurrent, Parameters]:
        attributes, weight, bias, hidden_bias = recurrent.read_weights(call, _GATES)
        return attributes, {"weight": weight, "bias": (bias + hidden_bias).ravel()}

    def describe(self, a: Recurrent) -> str:
        return f"LSTM {a.features}->{a.hidden}"

    def forward(
        self, a: Recurrent, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        import torch

        (x,) = inputs
        weight, bias = (recurrent.gate_major(parameters[k], _GATES) for k in ("weight", "bias"))
        weights = [weight[:, : a.features], weight[:, a.features :], bias, torch.zeros_like(bias)]
        streams = x.reshape(-1, a.chunks * a.steps, a.features)
        zeros = x.new_zeros(1, streams.shape[0], a.hidden)
        outputs, _, _ = torch.lstm(
            streams, (zeros, zeros), weights, True, 1, 0.0, False, False, True
        )
        return recurrent.windows(a, outputs)

    def quantize(
        self, node: Node[Recurrent], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[WeightedNode[Recurrent], Quantization]:
        return recurrent.quantize(node, inputs[0]), recurrent.OUTPUT

    def integer(
        self,
        node: WeightedNode[Recurrent],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """x: int8 [batch, steps, features]."""
        (x,) = inputs
        a = node.attributes
        cell = np.zeros((len(x) // a.chunks, a.hidden), np.int64)

        def step(values: Int8Array, hidden: Int8Array) -> Int64Array:
            nonlocal cell
            of_input, of_hidden = recurrent.gates(node, values, hidden)
            input_gate, forget_gate, new, output_gate = of_input + of_hidden
            products = sigmoid(forget_gate) * cell + sigmoid(input_gate) * tanh(new)
            cell = np.clip((products + 2**14) >> 15, -_CELL_LIMIT, _CELL_LIMIT)
            return (sigmoid(output_gate) * tanh((cell + 4) >> 3) + 2**14) >> 15

        return recurrent.run(node, x, step)
