"""Linear: a weight matrix times the flattened input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.requantize import requantize
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Quantization, WeightedNode
from deepcompress.ops.operator import Parameters, Shape, TorchParameters, WeightedOperator

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class Linear(Attributes):
    """Attributes. The parameter `weight` is [out_features, in_features]."""

    in_features: int
    out_features: int


class LinearOperator(WeightedOperator[Linear]):
    aten = ("linear", "addmm", "mm", "matmul")
    rows_are_channels = True
    has_columns = True

    def read(self, call: AtenCall) -> tuple[Linear, Parameters]:
        if call.aten == "linear":
            weight, bias = call.constant("weight"), call.optional_constant("bias")
        else:
            weight = call.constant("other" if call.aten == "matmul" else "mat2").T
            bias = call.constant("self") if call.aten == "addmm" else None
            if call.get("alpha", 1) != 1 or call.get("beta", 1) != 1:
                raise call.unsupported("addmm with alpha or beta is not supported", "Use nn.Linear")
        if weight.ndim != 2 or call.input_rank == 0:
            raise call.unsupported(
                "Linear is supported on [batch, features] or [batch, ..., features]",
                "Reshape the input before it",
            )
        if bias is None:
            bias = np.zeros(weight.shape[0], np.float32)
        return Linear(weight.shape[1], weight.shape[0]), {"weight": weight, "bias": bias}

    def output_shape(self, attributes: Linear, inputs: Sequence[Shape]) -> Shape:
        return (attributes.out_features,)

    def describe(self, attributes: Linear) -> str:
        return f"Linear {attributes.in_features}->{attributes.out_features}"

    def forward(
        self, attributes: Linear, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        return F.linear(x.reshape(x.shape[0], -1), parameters["weight"], parameters["bias"])

    def columns(self, attributes: Linear, *values: torch.Tensor) -> torch.Tensor:
        return values[0].reshape(1, -1, attributes.in_features)

    def integer(
        self, node: WeightedNode[Linear], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """x: int8 [batch, ...]. Sums are computed in float64, which is exact below 2**53."""
        (x,) = inputs
        sums = x.reshape(len(x), -1).astype(np.float64) @ node.weight.T.astype(np.float64)
        return requantize(sums.astype(np.int64) + node.bias, node.multiplier, node.requantize)

    def macs(self, attributes: Linear, weights: int, output: Shape) -> int:
        return weights
