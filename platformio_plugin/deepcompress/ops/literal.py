"""Constant tensors that are concatenated with others, such as a class token or coordinates.

Sums and products have constants as their own parameters instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine
from deepcompress.ir.arrays import Int8Array, frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class Literal(Attributes):
    """Attributes. The layer has an input, whose batch says how often there is a constant."""

    shape: tuple[int, ...]


class LiteralOperator(Operator[Literal, IntegerNode[Literal]]):
    aten = ()

    def read(self, call: AtenCall) -> tuple[Literal, Parameters]:
        raise NotImplementedError("no aten call is a literal: the importer makes it for concat")

    def output_shape(self, attributes: Literal, inputs: Sequence[Shape]) -> Shape:
        return attributes.shape

    def describe(self, attributes: Literal) -> str:
        return "Literal"

    def forward(
        self, attributes: Literal, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        return parameters["value"].expand(x.shape[0], *attributes.shape)

    def quantize(
        self, node: Node[Literal], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[Literal], Quantization]:
        after = affine(*observed)
        limited = np.clip(node.parameters["value"], node.clamp.minimum, node.clamp.maximum)
        steps = np.round(limited.astype(np.float64) / after.scale) + after.zero_point
        values = np.clip(steps, -128, 127).astype(np.int8).ravel()
        table = Array("values", frozen(values), "as the output has them")
        return IntegerNode(*node.identity, tables=(table,)), after

    def integer(
        self, node: IntegerNode[Literal], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        (x,) = inputs
        shape = (len(x), *node.attributes.shape)
        return np.broadcast_to(node.table("values").reshape(shape[1:]), shape)
