"""Concatenation and stacking. Along the first axis the producers write into the result directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class Concat(Attributes):
    """Attributes.

    Attributes:
        axis: counted without the batch.
        stacks: whether the axis is new, with one position per input.
        rows: product of the sizes of the axes before `axis`.
        sizes: number of values per row of each input.
    """

    axis: int
    stacks: bool
    rows: int
    sizes: tuple[int, ...]


def concat_of(shapes: Sequence[Shape], axis: int) -> Concat:
    """The concatenation of tensors of these shapes along an axis, counted without the batch."""
    sizes = tuple(prod(shape[axis:]) for shape in shapes)
    return Concat(axis, False, prod(shapes[0][:axis]), sizes)


class ConcatOperator(Operator[Concat, IntegerNode[Concat]]):
    aten = ("cat", "concat", "concatenate", "stack")
    only_moves = True
    keeps_scale = True
    takes_constants = True

    def read(self, call: AtenCall) -> tuple[Concat, Parameters]:
        shapes, stacks = call.input_shapes, call.aten == "stack"
        axis = call.get("dim", 0) % (len(shapes[0]) + 1 + stacks) - 1
        if axis < 0:
            raise call.unsupported("it joins samples", "Choose another axis, such as dim=1")
        sizes = tuple(prod(shape[axis:]) for shape in shapes)
        return Concat(axis, stacks, prod(shapes[0][:axis]), sizes), {}

    def output_shape(self, a: Concat, inputs: Sequence[Shape]) -> Shape:
        before, after = inputs[0][: a.axis], inputs[0][a.axis + (not a.stacks) :]
        joined = len(inputs) if a.stacks else sum(shape[a.axis] for shape in inputs)
        return (*before, joined, *after)

    def describe(self, attributes: Concat) -> str:
        return f"{'Stack' if attributes.stacks else 'Concat'} of {len(attributes.sizes)}"

    def parts(self, attributes: Concat, inputs: Sequence[Shape]) -> list[int] | None:
        offsets = list(accumulate(attributes.sizes, initial=0))[:-1]
        return offsets if attributes.rows == 1 else None

    def forward(
        self, attributes: Concat, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        import torch

        join = torch.stack if attributes.stacks else torch.cat
        return join(inputs, attributes.axis + 1)

    def quantize(
        self, node: Node[Concat], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[Concat], Quantization]:
        """`passes/quantize.py` has given all inputs one scale."""
        sizes = np.array(node.attributes.sizes, np.int32)
        table = Array("sizes", sizes, "values of each input in a row")
        integer = IntegerNode(*node.identity, tables=(table,))
        return integer, inputs[0]

    def integer(
        self, node: IntegerNode[Concat], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        a = node.attributes
        rows = [x.reshape(len(x), a.rows, -1) for x in inputs]
        shape = self.output_shape(a, [x.shape[1:] for x in inputs])
        return np.concatenate(rows, axis=2).reshape(len(inputs[0]), *shape)
