"""Which tensors share the bytes of others, so that reshaping, slicing and joining cost nothing.

A tensor that only renames another's bytes has none of its own; the inputs of a concatenation are
written where it wants them; an operator that works value by value writes over what nobody reads
any more. `plan` gives addresses to what remains, `check` proves that nothing is overwritten early.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepcompress.backend.plan import Location
from deepcompress.ir.graph import IntegerGraph, IntegerNode
from deepcompress.ops import OPERATORS

# Kernels may read words from where a tensor begins.
ALIGNMENT = 4


@dataclass(frozen=True)
class Overlay:
    """Every tensor's place, and the names of the nodes that these leave without work."""

    places: Mapping[str, Location]
    idle: frozenset[str]


def alias_buffers(graph: IntegerGraph) -> Overlay:
    """The places of all tensors; those of the network's inputs hold nothing else."""
    laying = _Laying(graph)
    for index, node in enumerate(graph.nodes):
        laying.lay(index, node)
    return Overlay(laying.places, frozenset(laying.idle))


class _Laying:
    """The walk over the nodes; where the tensors are that it has seen."""

    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph
        self.last_use = last_uses(graph)
        self.places: dict[str, Location] = {}
        self.within: dict[str, list[str]] = {}  # tensors by their root
        self.alive: dict[str, list[str]] = {}  # of these, those that may be read again
        self.idle: set[str] = set()
        for name in graph.inputs:
            self._put(name, Location(name, 0))

    def _put(self, tensor: str, place: Location) -> None:
        self.places[tensor] = place
        self.within.setdefault(place.root, []).append(tensor)
        self.alive.setdefault(place.root, []).append(tensor)

    def lay(self, index: int, node: IntegerNode) -> None:
        if self._is_view(node) or self._is_assembled(node):
            self.idle.add(node.name)
        elif not self._is_in_place(index, node):
            self._put(node.output, Location(node.output, 0))

    def _shape(self, tensor: str) -> tuple[int, ...]:
        return self.graph.tensors[tensor].shape

    def _is_view(self, node: IntegerNode) -> bool:
        """Whether the output is a contiguous part of the input."""
        offset = OPERATORS[node.op].view(node.attributes, self._shape(node.inputs[0]))
        if offset is None or offset % ALIGNMENT:
            return False
        source = self.places[node.inputs[0]]
        if source.root in self.graph.inputs and node.output in self.graph.outputs:
            return False  # inputs may be in the caller's memory, outputs are in the arena
        self._put(node.output, Location(source.root, source.offset + offset))
        return True

    def _is_assembled(self, node: IntegerNode) -> bool:
        """Whether all inputs can be written where the output wants them."""
        shapes = [self._shape(name) for name in node.inputs]
        offsets = OPERATORS[node.op].parts(node.attributes, shapes)
        if offsets is None or any(offset % ALIGNMENT for offset in offsets):
            return False
        roots = [self.places[name].root for name in node.inputs]
        movable = all(self._fills_its_root(name) for name in node.inputs)
        if not movable or len(set(roots)) < len(roots) or set(roots) & set(self.graph.inputs):
            return False
        self._put(node.output, Location(node.output, 0))
        for root, offset in zip(roots, offsets, strict=True):
            for name in self.within.pop(root):
                self._put(name, Location(node.output, offset + self.places[name].offset))
        return True

    def _fills_its_root(self, tensor: str) -> bool:
        root = self.places[tensor].root
        return self.graph.tensors[tensor].size == self.graph.tensors[root].size

    def _is_in_place(self, index: int, node: IntegerNode) -> bool:
        """Whether the output may overwrite an input, value by value."""
        if not OPERATORS[node.op].in_place:
            return False
        size = self.graph.tensors[node.output].size
        for name in node.inputs:
            if self.graph.tensors[name].size == size and self._may_overwrite(name, index):
                self._put(node.output, self.places[name])
                return True
        return False

    def _may_overwrite(self, tensor: str, index: int) -> bool:
        """Whether every tensor in these bytes is read here for the last time, value by value."""
        here, size = self.places[tensor], self.graph.tensors[tensor].size
        if here.root in self.graph.inputs:
            return False
        alive = [name for name in self.alive[here.root] if self.last_use[name] >= index]
        self.alive[here.root] = alive
        for name in alive:
            place = self.places[name]
            begin, end = place.offset, place.offset + self.graph.tensors[name].size
            overlaps = begin < here.offset + size and here.offset < end
            in_step = place == here and end - begin == size
            if overlaps and self.last_use[name] >= index + in_step:
                return False
        return True


def last_uses(graph: IntegerGraph) -> dict[str, int]:
    """Index of the last node that reads each tensor; the number of nodes for outputs."""
    uses = dict.fromkeys(graph.inputs, -1)
    for index, node in enumerate(graph.nodes):
        uses[node.output] = index
        uses.update(dict.fromkeys(node.inputs, index))
    uses.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    return uses
