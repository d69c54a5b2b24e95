"""Concatenation and stacking. Along the first axis what computes the parts writes them in place."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call

ATEN = ("cat", "concat", "concatenate", "stack")

ONLY_MOVES = True
TAKES_ARRAY = True
KEEPS_SCALE = True


@dataclass(frozen=True)
class Concat:
    """Attributes.

    Attributes:
        axis: without the batch.
        stacks: whether the axis is a new one, of one position for each input.
        sizes: values of each input in one row, of which there are `rows`.
    """

    axis: int
    stacks: bool
    rows: int
    sizes: tuple[int, ...]


def read(call: Call) -> tuple[Concat, dict[str, np.ndarray]]:
    shapes, stacks = call.input_shapes, call.aten == "stack"
    axis = call.get("dim", 0) % (len(shapes[0]) + 1 + stacks) - 1
    if axis < 0:
        raise call.unsupported("it joins samples", "Name another axis, such as dim=1")
    sizes = tuple(prod(shape[axis:]) for shape in shapes)
    return Concat(axis, stacks, prod(shapes[0][:axis]), sizes), {}


def output_shape(a: Concat, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    before, after = inputs[0][: a.axis], inputs[0][a.axis + (not a.stacks) :]
    joined = len(inputs) if a.stacks else sum(shape[a.axis] for shape in inputs)
    return (*before, joined, *after)


def describe(attributes: Concat) -> str:
    return f"{'Stack' if attributes.stacks else 'Concat'} of {len(attributes.sizes)}"


def parts(attributes: Concat, inputs: list[tuple]) -> list[int] | None:
    offsets = list(accumulate(attributes.sizes, initial=0))[:-1]
    return offsets if attributes.rows == 1 else None


def forward(attributes: Concat, parameters: dict, *inputs: torch.Tensor) -> torch.Tensor:
    import torch

    join = torch.stack if attributes.stacks else torch.cat
    return join(inputs, attributes.axis + 1)


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    """`quantize.py` has given the inputs one scale."""
    sizes = np.array(node.attributes.sizes, np.int32)
    table = Array("sizes", sizes, "values of each input in a row")
    integer = IntegerNode.of(node, tables=(table,))
    return integer, inputs[0]


def integer(node: IntegerNode, quantization: list[Quantization], *inputs: np.ndarray) -> np.ndarray:
    a = node.attributes
    rows = [x.reshape(len(x), a.rows, -1) for x in inputs]
    shape = output_shape(a, {}, [x.shape[1:] for x in inputs])
    return np.concatenate(rows, axis=2).reshape(len(inputs[0]), *shape)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_concat in include/deepcompress/kernels/concat.h."""
    return {"rows": node.attributes.rows, "parts": len(inputs)}


def macs(attributes: Concat, weights: int, output: tuple[int, ...]) -> int:
    return 0
