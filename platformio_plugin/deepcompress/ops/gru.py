"""GRU: one layer, one direction, over the time steps of a window.

r, z = sigmoid(gates of the input + gates of the previous output)
n    = tanh(gate of the input + r * gate of the previous output)
h    = n + z * (h - n), 16 bits in steps of 2^-15; the output is its upper byte
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

_GATES = 3


class GRUOperator(RecurrentOperator):
    aten = ("gru",)

    def read(self, call: AtenCall) -> tuple[Recurrent, Parameters]:
        attributes, weight, bias, hidden_bias = recurrent.read_weights(call, _GATES)
        # The sums of the first two gates are added directly, so they need only one bias.
        bias = np.concatenate([bias[:, :2] + hidden_bias[:, :2], bias[:, 2:]], axis=1)
        parameters = {"weight": weight, "bias": bias.ravel(), "hidden_bias": hidden_bias[:, 2]}
        return attributes, parameters

    def describe(self, a: Recurrent) -> str:
        return f"GRU {a.features}->{a.hidden}"

    def forward(
        self, a: Recurrent, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        import torch

        (x,) = inputs
        weight, bias = (recurrent.gate_major(parameters[k], _GATES) for k in ("weight", "bias"))
        hidden_bias = torch.cat([bias.new_zeros(2 * a.hidden), parameters["hidden_bias"]])
        weights = [weight[:, : a.features], weight[:, a.features :], bias, hidden_bias]
        streams = x.reshape(-1, a.chunks * a.steps, a.features)
        zeros = x.new_zeros(1, streams.shape[0], a.hidden)
        outputs, _ = torch.gru(streams, zeros, weights, True, 1, 0.0, False, False, True)
        return recurrent.windows(a, outputs)

    def quantize(
        self, node: Node[Recurrent], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[WeightedNode[Recurrent], Quantization]:
        bias = node.parameters["hidden_bias"]
        return recurrent.quantize(node, inputs[0], hidden_bias=bias), recurrent.OUTPUT

    def integer(
        self,
        node: WeightedNode[Recurrent],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """x: int8 [batch, steps, features]."""
        (x,) = inputs
        a = node.attributes
        state = np.zeros((len(x) // a.chunks, a.hidden), np.int64)

        def step(values: Int8Array, hidden: Int8Array) -> Int64Array:
            nonlocal state
            of_input, of_hidden = recurrent.gates(node, values, hidden)
            reset, update = (sigmoid(of_input[k] + of_hidden[k]) for k in (0, 1))
            new = tanh(of_input[2] + ((reset * of_hidden[2] + 2**14) >> 15))
            state = new + ((update * (state - new) + 2**14) >> 15)
            return state

        return recurrent.run(node, x, step)
