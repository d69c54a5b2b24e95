"""The abstract base classes of all operators: what an operator must state, and the defaults.

Type parameters: `A`, the operator's attributes; `N`, the class of its integer nodes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from deepcompress.arith.qparams import Range, clamp_int8
from deepcompress.ir.arrays import Float32Array, Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Node, Quantization, WeightedNode

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall

__all__ = ["Operator", "Parameters", "ScaleKeepingOperator", "Shape", "WeightedOperator"]

Shape = tuple[int, ...]
Parameters = Mapping[str, Float32Array]
TorchParameters = Mapping[str, "torch.Tensor"]

A = TypeVar("A", bound=Attributes)
N = TypeVar("N", bound=IntegerNode[Attributes])


class Operator(ABC, Generic[A, N]):
    """One operator. It has no state: what differs from layer to layer is in the attributes.

    Shapes are without the batch.
    """

    aten: ClassVar[tuple[str, ...]] = ()
    """Names of the aten operators, without overload, that `read` understands.

    With the suffix "_constant", it reads the calls in which one of two operands is a constant.
    """

    elementwise: ClassVar[bool] = False
    """Each output value depends on the input values at the same position alone."""

    in_place: ClassVar[bool] = False
    """The kernel may write its output over an input of the same size."""

    only_moves: ClassVar[bool] = False
    """The output has no other values than the inputs; `Node.clamp` is not applied."""

    channelwise: ClassVar[bool] = False
    """Channel c of the output (axis 0) depends on channel c of the input alone."""

    keeps_scale: ClassVar[bool] = False
    """All inputs must have the output's scale and zero point."""

    takes_constants: ClassVar[bool] = False
    """A constant operand is an input as well: the output of a literal node."""

    rows_are_channels: ClassVar[bool] = False
    """Row c of the parameter `weight` computes channel c; its columns are the input's channels."""

    has_columns: ClassVar[bool] = False
    """The parameter `weight` is a matrix, and `columns` gives what its rows multiply."""

    @abstractmethod
    def read(self, call: AtenCall) -> tuple[A, Parameters]:
        """Attributes and float parameters from an aten call.

        Raises:
            UserError: the call uses the operator in a way that is not supported.
        """

    @abstractmethod
    def output_shape(self, attributes: A, /, inputs: Sequence[Shape]) -> Shape:
        """Shape of the output for inputs of these shapes."""

    @abstractmethod
    def describe(self, attributes: A, /) -> str:
        """The layer in a few words, as PyTorch would print it."""

    @abstractmethod
    def forward(
        self, attributes: A, /, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        """The float operator on a batch, without `Node.clamp`; differentiable.

        Args:
            parameters: torch tensors under the names of `Node.parameters`.
        """

    @abstractmethod
    def quantize(
        self, node: Node[A], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[N, Quantization]:
        """The node in integers, and the quantization of its output.

        Args:
            observed: range of the output over the calibration data.
        """

    @abstractmethod
    def integer(
        self, node: N, quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """The integer operator on int8 batches: the specification of its arithmetic.

        Args:
            quantization: of each input.
        """

    def columns(self, attributes: A, /, *values: torch.Tensor) -> torch.Tensor:
        """What the rows of the parameter `weight` multiply, by group: [groups, samples, columns].

        Weight row r of group g, as a vector, times sample n gives one sum before bias and clamp.

        Args:
            values: the inputs, and after them the layer's outputs before the clamp.

        Raises:
            NotImplementedError: the operator has no weight matrix; see `has_columns`.
        """
        raise NotImplementedError

    def macs(self, attributes: A, /, weights: int, output: Shape) -> int:
        """Multiplications (or additions) of one inference with `weights` weights."""
        return 0

    def changes_nothing(self, attributes: A, /, parameters: Parameters) -> bool:
        """Whether the output is the input, except for its shape."""
        return False

    def view(self, attributes: A, /, source: Shape) -> int | None:
        """Byte offset of the output in the input; None if the output is computed."""
        return None

    def parts(self, attributes: A, /, inputs: Sequence[Shape]) -> list[int] | None:
        """Byte offset of each input in the output; None if it is not their concatenation."""
        return None


class WeightedOperator(Operator[A, WeightedNode[A]]):
    """A sum of products of the input and a weight matrix, plus a bias.

    `passes/quantize.py` makes its integers, with facts of the whole graph (tied weights, the
    rounding of byte inputs), so `quantize` is never called.
    """

    def quantize(
        self, node: Node[A], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[WeightedNode[A], Quantization]:
        raise NotImplementedError(f"{node.name}: passes/quantize.py quantizes weighted operators")


class ScaleKeepingOperator(Operator[A, IntegerNode[A]]):
    """An operator that moves, compares or averages int8 values without changing their scale."""

    keeps_scale = True

    def quantize(
        self, node: Node[A], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[A], Quantization]:
        return IntegerNode(*node.identity, clamp=clamp_int8(node.clamp, inputs[0])), inputs[0]
