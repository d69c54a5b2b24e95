"""Linear on more than a vector: on each of [..., features], as along the time of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.requantize import requantize
from deepcompress.errors import UserError
from deepcompress.ops import linear

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call
    from deepcompress.ir.graph import IntegerNode, Quantization

ATEN = ()


@dataclass(frozen=True)
class LinearRows:
    """Attributes: `rows` is the shape without features, and without the batch."""

    in_features: int
    out_features: int
    rows: tuple[int, ...]


def read(call: Call) -> tuple[LinearRows, dict[str, np.ndarray]]:
    one, parameters = linear.read(call)
    return LinearRows(one.in_features, one.out_features, call.input_shape[:-1]), parameters


def output_shape(attributes: LinearRows, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    if inputs[0] != (*attributes.rows, attributes.in_features):
        raise UserError(
            f"{list(inputs[0])} reaches a Linear of {attributes.in_features} features",
            "the model",
            "Check the layer before it",
        )
    return (*attributes.rows, attributes.out_features)


def describe(attributes: LinearRows) -> str:
    rows = "x".join(map(str, attributes.rows))
    return f"Linear {attributes.in_features}->{attributes.out_features} on {rows}"


def forward(attributes: LinearRows, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    return F.linear(x, parameters["weight"], parameters["bias"])


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """x: int8 [batch, *rows, in_features]. Summed in float64, which is exact below 2**53."""
    sums = x.astype(np.float64) @ node.weight.T.astype(np.float64)
    channels_first = np.moveaxis(sums.astype(np.int64) + node.bias, -1, 1)
    return np.moveaxis(requantize(channels_first, node.requantize), 1, -1)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_linear_rows in include/deepcompress/kernels/linear_rows.h."""
    return {
        "rows": prod(node.attributes.rows),
        "in_features": node.attributes.in_features,
        "out_features": node.attributes.out_features,
    }


def macs(attributes: LinearRows, weights: int, output: tuple[int, ...]) -> int:
    return weights * prod(attributes.rows)
