"""Linear on several vectors [..., features], such as the time steps of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.requantize import requantize
from deepcompress.errors import UserError
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Quantization, WeightedNode
from deepcompress.ops.linear import LinearOperator
from deepcompress.ops.operator import Parameters, Shape, TorchParameters, WeightedOperator

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class LinearRows(Attributes):
    """Attributes. `rows` is the input's shape without batch and features."""

    in_features: int
    out_features: int
    rows: tuple[int, ...]


class LinearRowsOperator(WeightedOperator[LinearRows]):
    aten = ()
    has_columns = True

    def read(self, call: AtenCall) -> tuple[LinearRows, Parameters]:
        linear, parameters = LinearOperator().read(call)
        rows = call.input_shape[:-1]
        return LinearRows(linear.in_features, linear.out_features, rows), parameters

    def output_shape(self, attributes: LinearRows, inputs: Sequence[Shape]) -> Shape:
        if inputs[0] != (*attributes.rows, attributes.in_features):
            raise UserError(
                f"{list(inputs[0])} reaches a Linear of {attributes.in_features} features",
                "the model",
                "Check the layer before it",
            )
        return (*attributes.rows, attributes.out_features)

    def describe(self, attributes: LinearRows) -> str:
        rows = "x".join(map(str, attributes.rows))
        return f"Linear {attributes.in_features}->{attributes.out_features} on {rows}"

    def forward(
        self, attributes: LinearRows, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        return F.linear(x, parameters["weight"], parameters["bias"])

    def columns(self, attributes: LinearRows, *values: torch.Tensor) -> torch.Tensor:
        return values[0].reshape(1, -1, attributes.in_features)

    def integer(
        self,
        node: WeightedNode[LinearRows],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """x: int8 [batch, *rows, in_features]. Sums in float64 are exact below 2**53."""
        (x,) = inputs
        sums = x.astype(np.float64) @ node.weight.T.astype(np.float64)
        channels_first = np.moveaxis(sums.astype(np.int64) + node.bias, -1, 1)
        return np.moveaxis(requantize(channels_first, node.multiplier, node.requantize), 1, -1)

    def macs(self, attributes: LinearRows, weights: int, output: Shape) -> int:
        return weights * prod(attributes.rows)
