"""Linear: a matrix times the flattened input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.requantize import requantize

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call
    from deepcompress.ir.graph import IntegerNode, Quantization

ATEN = ("linear", "addmm", "mm", "matmul")
ROWS_ARE_CHANNELS = True


@dataclass(frozen=True)
class Linear:
    in_features: int
    out_features: int


def read(call: Call) -> tuple[Linear, dict[str, np.ndarray]]:
    if call.aten == "linear":
        weight, bias = call.constant("weight"), call.constant("bias", optional=True)
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


def output_shape(attributes: Linear, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return (attributes.out_features,)


def describe(attributes: Linear) -> str:
    return f"Linear {attributes.in_features}->{attributes.out_features}"


def forward(attributes: Linear, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    return F.linear(x.reshape(x.shape[0], -1), parameters["weight"], parameters["bias"])


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """x: int8 [batch, ...]. Summed in float64, which is exact below 2**53."""
    sums = x.reshape(len(x), -1).astype(np.float64) @ node.weight.T.astype(np.float64)
    return requantize(sums.astype(np.int64) + node.bias, node.requantize)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_linear in include/deepcompress/kernels/linear.h."""
    return {
        "in_features": node.attributes.in_features,
        "out_features": node.attributes.out_features,
    }


def macs(attributes: Linear, weights: int, output: tuple[int, ...]) -> int:
    return weights
