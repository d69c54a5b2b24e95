"""What a kernel is: a C function, what it accepts, what it needs and what it costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from deepcompress.backend.kernels.c_struct import CStruct
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import (
    Array,
    EncodedWeight,
    IntegerGraph,
    IntegerNode,
    Quantization,
    WeightedNode,
)
from deepcompress.ops import OPERATORS, Shape
from deepcompress.target.core import Cpu

T = TypeVar("T", bound=Attributes)

DSP = frozenset({"dsp"})
MVE = frozenset({"mve"})


@dataclass(frozen=True)
class Layer:
    """An integer node, and what a kernel must know of its tensors. Shapes are without the batch.

    Attributes:
        quantization, inputs: of each input.
    """

    node: IntegerNode
    quantization: tuple[Quantization, ...]
    inputs: tuple[Shape, ...]
    output: Shape

    @classmethod
    def of(cls, graph: IntegerGraph, node: IntegerNode) -> Layer:
        return cls(
            node,
            tuple(graph.quantization[name] for name in node.inputs),
            tuple(graph.tensors[name].shape for name in node.inputs),
            graph.tensors[node.output].shape,
        )

    @property
    def weighted(self) -> WeightedNode:
        """The node of a layer with weights."""
        assert isinstance(self.node, WeightedNode), self.node.name
        return self.node

    def attributes(self, kind: type[T]) -> T:
        """The node's attributes, which are of this class."""
        assert isinstance(self.node.attributes, kind), self.node.name
        return self.node.attributes

    def table(self, name: str) -> Array:
        """A constant array other than weights."""
        return next(array for array in self.node.tables if array.name == name)

    def macs(self, weights: int) -> int:
        """Multiplications of one inference with `weights` weights."""
        return OPERATORS[self.node.op].macs(self.node.attributes, weights, self.output)


@dataclass(frozen=True)
class Scratch:
    """Memory of the arena that a kernel works in.

    Attributes:
        may_overlap_input: the kernel begins by copying its whole input to the end of its scratch,
            from the front on. So the scratch may overlap the input if it ends where the input does
            or before: what is written never reaches what is still to be read.
        start: None, or for scratch that keeps its contents from one inference to the next the int8
            value that it is filled with at the start.
    """

    bytes: int = 0
    may_overlap_input: bool = False
    start: int | None = None


@dataclass(frozen=True)
class Cost:
    """Estimates for one layer: cycles of one inference, and flash of its code."""

    cycles: int
    code_bytes: int
    macs: int


@dataclass(frozen=True)
class Rate:
    """What a kernel costs on a Cortex-M4 at zero wait states.

    Fitted to the modelled cycles and the code sizes that arm-none-eabi-gcc 12 -O2 gives;
    tests/backend/test_cost_model.py holds the fit to within a third.

    Attributes:
        mac, weight, output: cycles per product, per stored weight that is decoded, per output.
        code_bytes: of one layer's instance.
    """

    mac: float = 0.0
    weight: float = 0.0
    output: float = 0.0
    code_bytes: int = 0

    def cycles(self, macs: int, weights: int, outputs: int) -> float:
        return self.mac * macs + self.weight * weights + self.output * outputs

    def __str__(self) -> str:
        """As docs/kernels.md has it: "1.3 per product, 11 per output"."""
        named = {"product": self.mac, "decoded weight": self.weight, "output": self.output}
        return ", ".join(f"{cycles:g} per {name}" for name, cycles in named.items() if cycles)


def by_core(rate: Rate, portable_rate: Rate | None) -> dict[str, str]:
    """`Kernel.rates` of a kernel that is slower on a core without the DSP extension."""
    if portable_rate is None:
        return {"": str(rate)}
    return {"DSP": str(rate), "no DSP": str(portable_rate)}


@dataclass(frozen=True, kw_only=True)
class Kernel(ABC):
    """One C function that can run layers of some operators.

    Attributes:
        name: of the C function, without dc_.
        header: in include/deepcompress/kernels/, without .h.
        operators: names in `ops.OPERATORS`.
        features: that the target must have.
        superseded_by: features of targets that have a better kernel for the same layers.
        encodings: of weights; empty for an operator without weights.
        takes_encoding: whether it takes the encoding as an argument, a constant: it reads several.
        takes_array: whether it takes an array of its inputs, of any length.
        takes_scratch: whether it takes a pointer to scratch memory, which may be NULL.
        scratch_text: what is in the scratch memory, for docs/kernels.md.
    """

    name: str
    header: str
    operators: tuple[str, ...]
    features: frozenset[str] = frozenset()
    superseded_by: frozenset[str] = frozenset()
    encodings: tuple[str, ...] = ()
    takes_encoding: bool = False
    takes_array: bool = False
    takes_scratch: bool = False
    scratch_text: str = ""

    @property
    def c_name(self) -> str:
        return f"dc_{self.name}"

    def runs_on(self, cpu: Cpu) -> bool:
        return self.features <= cpu.features and not self.superseded_by & cpu.features

    def accepts(self, layer: Layer, encoding: str | None, cpu: Cpu) -> bool:
        """Whether it can run this layer with weights in this encoding (None: no weights)."""
        return (
            layer.node.op in self.operators
            and self.runs_on(cpu)
            and (encoding in self.encodings if encoding else not self.encodings)
        )

    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        return Scratch()

    @abstractmethod
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        """The layer's shape and constants, as the C function takes them."""

    def library_arrays(self) -> tuple[Array, ...]:
        """The constant arrays in its C header that it reads, which all its layers share."""
        return ()

    def assumptions(self, layer: Layer) -> tuple[str, ...]:
        """C conditions on the library, checked where the generated C is compiled."""
        return ()

    @abstractmethod
    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost: ...

    @abstractmethod
    def rates(self) -> dict[str, str]:
        """Cycles in words, for docs/kernels.md: by encoding or core, "" if there is one rate."""


@dataclass(frozen=True, kw_only=True)
class PlainKernel(Kernel):
    """A kernel of an operator without weights.

    Attributes:
        rate: on a core with the DSP extension, and on others if `portable_rate` is None.
    """

    rate: Rate
    portable_rate: Rate | None = None

    @classmethod
    def of(
        cls,
        operator: str,
        *,
        rate: Rate,
        portable_rate: Rate | None = None,
        takes_array: bool = False,
        takes_scratch: bool = False,
        scratch_text: str = "",
    ) -> PlainKernel:
        """The only kernel of an operator."""
        return cls(
            name=f"{operator}_int8",
            header=operator,
            operators=(operator,),
            rate=rate,
            portable_rate=portable_rate,
            takes_array=takes_array,
            takes_scratch=takes_scratch,
            scratch_text=scratch_text,
        )

    def outputs(self, layer: Layer) -> int:
        """Values that `Rate.output` counts."""
        return prod(layer.output)

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        rate = self.portable_rate if self.portable_rate and "dsp" not in cpu.features else self.rate
        macs = layer.macs(0)
        cycles = rate.cycles(macs, 0, self.outputs(layer)) * cpu.cycle_factor
        return Cost(round(cycles), rate.code_bytes, macs)

    def rates(self) -> dict[str, str]:
        return by_core(self.rate, self.portable_rate)
