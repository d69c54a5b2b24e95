"""The values that flow from stage to stage: Graph, IntegerGraph, and what they consist of.

Each is frozen, its arrays become read-only, and each stage returns a new one. A stage's output type
is not its input type where what is known has changed: a Graph is float, an IntegerGraph has scales.
`backend/plan.py` has the next ones: a SelectedGraph has kernels and the weights' bytes, a Plan has
addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Generic

import numpy as np

from deepcompress.ir.arrays import AnyArray, Float32Array, Int8Array, Int32Array, IntArray, frozen
from deepcompress.ir.attributes import A

# The largest magnitude of a parameter and of an activation: its square is finite in float32.
LARGEST_VALUE = 1e18


@dataclass(frozen=True)
class Tensor:
    """An activation. `shape` is without the batch: (channels, height, width) or (features,)."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values, which is the number of bytes as int8."""
        return prod(self.shape)


@dataclass(frozen=True)
class Clamp:
    """An activation function that limits values to [minimum, maximum], in real units."""

    minimum: float = -np.inf
    maximum: float = np.inf

    def then(self, later: Clamp) -> Clamp:
        """One clamp that is equal to this one followed by `later`."""
        low = min(max(self.minimum, later.minimum), later.maximum)
        high = min(max(self.maximum, later.minimum), later.maximum)
        return Clamp(low, high)


@dataclass(frozen=True)
class Node(Generic[A]):
    """One layer of a float network.

    Attributes:
        name: the user's name of the layer, such as "features.0".
        op: a key of `ops.OPERATORS`.
        inputs, output: names of tensors.
        attributes: the operator's frozen dataclass, as `Conv2d`.
        parameters: read-only float32 arrays by name ("weight", "bias").
        clamp: the activation function that is fused into the layer.
        source: the line of the user's model, or "" if torch does not know it.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: A
    parameters: Mapping[str, Float32Array]
    clamp: Clamp = Clamp()
    source: str = ""

    def __post_init__(self) -> None:
        for array in self.parameters.values():
            frozen(array)

    @property
    def identity(self) -> tuple[str, str, tuple[str, ...], str, A]:
        """The leading fields, which a layer keeps when it becomes an IntegerNode."""
        return (self.name, self.op, self.inputs, self.output, self.attributes)


@dataclass(frozen=True)
class Graph:
    """A float network: nodes in the order of execution.

    Attributes:
        ranges: real values of int8's -128 and 127, for tensors whose scale the user's file states.
    """

    name: str
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def producer(self, tensor: str) -> Node | None:
        """The node that computes a tensor; None for an input of the network."""
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor."""
        return self._consumers.get(tensor, [])

    @cached_property
    def _producers(self) -> Mapping[str, Node]:
        return {node.output: node for node in self.nodes}

    @cached_property
    def _consumers(self) -> Mapping[str, list[Node]]:
        consumers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                consumers.setdefault(tensor, []).append(node)
        return consumers


@dataclass(frozen=True)
class Quantization:
    """The affine map from int8 to real numbers: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class ByteInput:
    """The map from a raw byte u to an int8 input: clamp((u * multiplier + offset) >> shift).

    Attributes:
        multiplier, offset: int32 [channels], or [1] for all channels.
        shift: 0 .. 16. For an image in 0 .. 255 it is 0, the multiplier 1 and the offset -128.
    """

    multiplier: Int32Array
    offset: Int32Array
    shift: int


@dataclass(frozen=True)
class Requantize:
    """Constants that turn accumulator * multiplier into an int8; see `arith/requantize.py`.

    Attributes:
        shift: rounding right shift, the same for all channels.
        zero_point: zero point of the output.
        minimum, maximum: limits of the int8 output, from the activation function.
    """

    shift: int
    zero_point: int
    minimum: int
    maximum: int


@dataclass(frozen=True)
class Array:
    """A constant C array. The numpy type of `values`, which become read-only, is its C type.

    Attributes:
        name: the field of the kernel's struct that points to the array.
        meaning: the comment in the generated C.
    """

    name: str
    values: AnyArray
    meaning: str

    def __post_init__(self) -> None:
        frozen(self.values)


@dataclass(frozen=True)
class IntegerNode(Generic[A]):
    """One layer in integers.

    Attributes:
        clamp: (minimum, maximum) of the int8 output.
        fields: integers that quantization computed, by field of the kernel's parameter struct.
        tables: constant arrays other than weights, which fields of that struct point to.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: A
    clamp: tuple[int, int] = (-128, 127)
    fields: Mapping[str, int] = field(default_factory=dict)
    tables: tuple[Array, ...] = ()

    def table(self, name: str) -> AnyArray:
        """The values of the table of this name."""
        return next(array.values for array in self.tables if array.name == name)


@dataclass(frozen=True, kw_only=True)
class RequantizedNode(IntegerNode[A]):
    """A layer whose accumulators are requantized. Its multipliers are in `fields` or `tables`."""

    requantize: Requantize


@dataclass(frozen=True, kw_only=True)
class WeightedNode(RequantizedNode[A]):
    """A layer with a weight matrix.

    Attributes:
        weight: int8 [output channels, weights per channel].
        bias: int32 [output channels], with the input's zero point folded in.
        multiplier: int32 [output channels] of requantization, each in 0 .. 2**31 - 1.
    """

    weight: Int8Array
    bias: Int32Array
    multiplier: Int32Array

    def __post_init__(self) -> None:
        for array in (self.weight, self.bias, self.multiplier):
            frozen(array)


@dataclass(frozen=True)
class IntegerGraph:
    """A network in integers.

    `execute/int8_reference.py` runs it; the generated C must be bit-exact to that.
    """

    name: str
    tensors: Mapping[str, Tensor]
    quantization: Mapping[str, Quantization]
    nodes: tuple[IntegerNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    byte_input: ByteInput | None = None


@dataclass(frozen=True)
class Constants:
    """Integers per output channel (biases, multipliers) as they are stored in flash.

    Attributes:
        stored: int8, int16 or int32 [channels], or [1] if all channels have the same value.
        shift: the integers are `stored << shift`.
    """

    stored: IntArray
    shift: int

    @property
    def shared(self) -> bool:
        """Whether one stored value is used for all channels."""
        return len(self.stored) == 1


@dataclass(frozen=True)
class EncodedWeight:
    """All constants of a layer as they are stored in flash.

    Attributes:
        encoding: of the weights, a key of `ENCODINGS`.
        arrays: what that encoding makes of the weights.
        bias: `WeightedNode.bias`, or the bias without the input's zero point folded in.
        multiplier: `WeightedNode.multiplier`.
        zero_point: what the kernel subtracts from each input: 0 if the zero point is folded into
            the bias, else the input's zero point.
    """

    encoding: str
    arrays: tuple[Array, ...]
    bias: Constants
    multiplier: Constants
    zero_point: int

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights' values, indices and tables."""
        return sum(array.values.nbytes for array in self.arrays)

    @property
    def constant_bytes(self) -> int:
        """Bytes of biases and multipliers."""
        return self.bias.stored.nbytes + self.multiplier.stored.nbytes

    @property
    def flash_bytes(self) -> int:
        """Bytes of weights, biases and multipliers."""
        return self.weight_bytes + self.constant_bytes
