"""LSTM: one layer, one direction, over the steps of a window.

i, f, o = sigmoid(gates), g = tanh(gate); gates = gates of the input + gates of the last output
c       = f * c + i * g, 32 bits in steps of 2^-15
h       = o * tanh(c); the output is its upper byte
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import Node, Quantization, WeightedNode
from deepcompress.ops import recurrent
from deepcompress.ops.operator import Parameters, Shape, TorchParameters
from deepcompress.ops.recurrent import Recurrent, RecurrentOperator, sigmoid, tanh

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


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
        (x,) = inputs
        import torch

        weight, bias = (recurrent.gate_by_gate(parameters[k], _GATES) for k in ("weight", "bias"))
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

        def step(values: np.ndarray, hidden: np.ndarray) -> np.ndarray:
            nonlocal cell
            of_input, of_hidden = recurrent.gates(node, values, hidden)
            enter, forget, fresh, leave = of_input + of_hidden
            products = sigmoid(forget) * cell + sigmoid(enter) * tanh(fresh)
            cell = np.clip((products + 2**14) >> 15, -_CELL_LIMIT, _CELL_LIMIT)
            return (sigmoid(leave) * tanh((cell + 4) >> 3) + 2**14) >> 15

        return recurrent.run(node, x, step)

    def scratch_bytes(self, a: Recurrent, shape: Shape) -> int:
        """The cells, the last output and the next one."""
        return (4 + 1 + 1) * a.hidden


_GATES = 4
# Beyond this, in steps of 2^-15, a cell counts no further: +-2^15.
_CELL_LIMIT = 2**30
