"""Values that depend on no input, where a tensor is joined with them: a class token, coordinates.

Sums and products take constants as parameters of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call

ATEN = ()


@dataclass(frozen=True)
class Literal:
    """Attributes. The layer has an input, whose batch says how often there is a constant."""

    shape: tuple[int, ...]


def read(call: Call) -> tuple[Literal, dict[str, np.ndarray]]:
    raise NotImplementedError("no call is a constant: `lower` makes it for the layer that joins it")


def output_shape(attributes: Literal, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return attributes.shape


def describe(attributes: Literal) -> str:
    return "Literal"


def forward(attributes: Literal, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    return parameters["value"].expand(x.shape[0], *attributes.shape)


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    after = affine(*observed)
    limited = np.clip(node.parameters["value"], node.clamp.minimum, node.clamp.maximum)
    steps = np.round(limited.astype(np.float64) / after.scale) + after.zero_point
    values = np.clip(steps, -128, 127).astype(np.int8).ravel()
    values.flags.writeable = False
    table = Array("values", values, "as the output has them")
    return IntegerNode.of(node, tables=(table,)), after


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    shape = (len(x), *node.attributes.shape)
    return np.broadcast_to(node.table("values").reshape(shape[1:]), shape)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_literal in include/deepcompress/kernels/literal.h."""
    return {"size": prod(output)}


def macs(attributes: Literal, weights: int, output: tuple[int, ...]) -> int:
    return 0
