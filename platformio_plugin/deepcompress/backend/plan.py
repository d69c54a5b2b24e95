"""What selecting kernels and planning memory result in: SelectedGraph and Plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepcompress.backend.kernels.kernel import Cost, Kernel, Layer, Scratch
from deepcompress.backend.kernels.weighted import shared_code_bytes
from deepcompress.ir.graph import EncodedWeight, IntegerGraph, IntegerNode

# The function that calls the layers, the input's conversion, the labels' look-up.
MODEL_CODE_BYTES = 420


@dataclass(frozen=True)
class Selection:
    """How one layer is computed: the kernel, and the constants of a layer with weights."""

    layer: Layer
    kernel: Kernel
    weight: EncodedWeight | None
    cost: Cost

    @property
    def scratch(self) -> Scratch:
        return self.kernel.scratch(self.layer, self.weight)


@dataclass(frozen=True)
class SelectedGraph:
    """An IntegerGraph, and how each of its layers is computed.

    Attributes:
        selections: by name of the node.
        optimize: "size", "speed" or "balanced": what the kernels were selected for.
        cpu: name of the target.
    """

    integer: IntegerGraph
    selections: Mapping[str, Selection]
    optimize: str
    cpu: str

    @property
    def weights(self) -> dict[str, EncodedWeight]:
        """The constants of each layer with weights."""
        return {name: s.weight for name, s in self.selections.items() if s.weight is not None}


@dataclass(frozen=True)
class Location:
    """Where a tensor is: `offset` bytes after the first byte of the tensor `root`."""

    root: str
    offset: int


@dataclass(frozen=True)
class Step:
    """One call of a kernel. Inputs, output and scratch are byte addresses in the arena."""

    selection: Selection
    inputs: tuple[int, ...]
    output: int
    scratch: int

    @property
    def node(self) -> IntegerNode:
        return self.selection.layer.node

    @property
    def kernel(self) -> Kernel:
        return self.selection.kernel

    @property
    def weight(self) -> EncodedWeight | None:
        return self.selection.weight

    @property
    def scratch_bytes(self) -> int:
        return self.selection.scratch.bytes

    @property
    def macs(self) -> int:
        return self.selection.cost.macs

    @property
    def cycles(self) -> int:
        """Estimated, of one inference."""
        return self.selection.cost.cycles

    @property
    def code_bytes(self) -> int:
        """Estimated flash of the kernel's instance."""
        return self.selection.cost.code_bytes


@dataclass(frozen=True)
class Plan:
    """The steps in execution order with their addresses: all that `emit_c` needs.

    Attributes:
        steps: one per node that does work; the other nodes' outputs are already in place.
        addresses: the offset in the arena of every tensor and scratch.
        locations: the place of every tensor within another tensor, or within itself.
    """

    selected: SelectedGraph
    steps: tuple[Step, ...]
    arena_bytes: int
    addresses: Mapping[str, int]
    locations: Mapping[str, Location]
    stack_bytes: int

    @property
    def integer(self) -> IntegerGraph:
        return self.selected.integer

    @property
    def cpu(self) -> str:
        return self.selected.cpu

    @property
    def code_bytes(self) -> int:
        """Estimated flash of the code: layers, the functions they share, and their callers."""
        encodings = {weight.encoding for weight in self.selected.weights.values()}
        shared = sum(map(shared_code_bytes, encodings))
        return MODEL_CODE_BYTES + shared + sum(step.code_bytes for step in self.steps)

    @property
    def is_stateful(self) -> bool:
        """Whether some scratch keeps its contents from one inference to the next."""
        return any(step.selection.scratch.start is not None for step in self.steps)
