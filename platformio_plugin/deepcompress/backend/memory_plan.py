"""Where each tensor lives and what each layer costs, all known before the C compiler runs.

Tensors whose lifetimes do not meet share bytes of one arena. In a chain of layers that is the
ping-pong of two buffers (Unlu, arXiv 2007.01348), of the size of the largest neighbouring pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from deepcompress.backend.buffer_aliasing import ALIGNMENT, Overlay, alias_buffers, last_uses
from deepcompress.backend.plan import Plan, SelectedGraph, Selection, Step

# Return addresses, saved registers and spills of `infer`, a layer and what it calls, measured.
STACK_BYTES = 200
# How many placements are tried, and how many pairs of buffers are compared: half a second.
_ATTEMPTS, _PAIRS = 2000, 2_000_000


@dataclass(frozen=True)
class _Span:
    """Bytes of a buffer, from `offset` on, that are needed from step `first` to `last`.

    Attributes:
        tensor: the one at this place.
        eats: of scratch that a tensor is copied to from the front on, as its last use: this tensor,
            which it may overlap as long as it does not end after it.
    """

    offset: int
    size: int
    first: int
    last: int
    tensor: str = ""
    eats: str = ""


@dataclass(frozen=True)
class _Buffer:
    """Bytes that are needed from step `first` to step `last`, both included.

    Attributes:
        parts: of a buffer that contains tensors: which of its bytes are needed when.
        eats: see `_Span`.
    """

    name: str
    size: int
    first: int
    last: int
    parts: tuple[_Span, ...] = ()
    eats: str = ""

    @property
    def spans(self) -> tuple[_Span, ...]:
        return self.parts or (_Span(0, self.size, self.first, self.last, eats=self.eats),)

    @cached_property
    def spans_by_step(self) -> Mapping[int, Sequence[_Span]]:
        """What is needed at each step; not of inputs before the first step, -1."""
        needed: dict[int, list[_Span]] = {}
        for span in self.spans:
            for step in range(max(span.first, 0), span.last + 1):
                needed.setdefault(step, []).append(span)
        return needed

    def meets(self, other: _Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last

    def spans_during(self, other: _Buffer) -> Iterable[_Span]:
        """At least the spans that are needed while the other buffer is; few of many."""
        steps = range(max(0, self.first, other.first), min(self.last, other.last) + 1)
        if len(self.spans) <= len(steps) or other.first < 0:
            return self.spans
        return {span: None for step in steps for span in self.spans_by_step.get(step, ())}


def plan_memory(selected: SelectedGraph) -> Plan:
    """Addresses for every layer."""
    laid = alias_buffers(selected.integer)
    buffers = _buffers(selected, laid)
    addresses = place(buffers)
    arena = _extent(addresses, buffers)
    for name, at in laid.places.items():
        addresses[name] = addresses[at.root] + at.offset
    steps = tuple(
        _step(selection, addresses)
        for name, selection in selected.selections.items()
        if name not in laid.idle
    )
    return Plan(selected, steps, arena, addresses, laid.places, STACK_BYTES)


def _scratch_name(selection: Selection) -> str:
    return f"{selection.layer.node.name} scratch"


def _buffers(selected: SelectedGraph, laid: Overlay) -> list[_Buffer]:
    """Scratch, and tensors that are not inside others, while any tensor in them is needed."""
    graph = selected.integer
    born = dict.fromkeys(graph.inputs, -1)
    born.update((node.output, i) for i, node in enumerate(graph.nodes))
    dies = last_uses(graph)
    within: dict[str, list[_Span]] = {}
    for name, at in laid.places.items():
        span = _Span(at.offset, graph.tensors[name].size, born[name], dies[name], name)
        within.setdefault(at.root, []).append(span)
    tensors = [
        _Buffer(
            root,
            graph.tensors[root].size,
            min(span.first for span in spans),
            max(span.last for span in spans),
            tuple(spans),
        )
        for root, spans in within.items()
    ]
    scratch = [
        _scratch_buffer(selection, i, dies, len(graph.nodes))
        for i, selection in enumerate(selected.selections.values())
        if selection.scratch.bytes
    ]
    return tensors + scratch


def _scratch_buffer(
    selection: Selection, index: int, last_use: dict[str, int], nodes: int
) -> _Buffer:
    """The scratch of the layer that runs at `index`."""
    scratch, source = selection.scratch, selection.layer.node.inputs[0]
    first, last = (index, index) if scratch.start is None else (-1, nodes)
    eats = source if scratch.may_overlap_input and last_use[source] == index else ""
    return _Buffer(_scratch_name(selection), scratch.bytes, first, last, eats=eats)


def place(buffers: list[_Buffer]) -> dict[str, int]:
    """Addresses such that buffers needed at the same time do not overlap: the best found.

    Buffers are placed one after the other, each at the lowest address that is free throughout its
    life. The largest go first; then any two change places, for as long as that makes nothing worse
    and bytes may be left to gain. What is tried is the same each time.
    """
    order = sorted(buffers, key=lambda b: (-b.size, b.first))
    conflicts = _conflicts(buffers)
    best = _place_in_order(order, conflicts)
    least, chance = _least(buffers), Random(0)
    for _ in range(min(_ATTEMPTS, _PAIRS // max(1, len(order)) ** 2)):
        if _extent(best, buffers) < least + ALIGNMENT:
            break
        one, other = (chance.randrange(len(order)) for _ in range(2))
        changed = order.copy()
        changed[one], changed[other] = order[other], order[one]
        addresses = _place_in_order(changed, conflicts)
        if _extent(addresses, buffers) <= _extent(best, buffers):
            order, best = changed, addresses
    return best


def _least(buffers: list[_Buffer]) -> int:
    """The most bytes that are needed at one step: no placement takes less."""
    eaten = {(buffer.first, buffer.eats) for buffer in buffers if buffer.eats}
    total: Counter[int] = Counter()
    for buffer in buffers:
        for step, spans in buffer.spans_by_step.items():
            total[step] += _covered([s for s in spans if (step, s.tensor) not in eaten])
    return max(total.values(), default=0)


def _covered(spans: list[_Span]) -> int:
    """Bytes of a buffer that are in at least one of these spans."""
    reached = total = 0
    for span in sorted(spans, key=lambda s: s.offset):
        end = span.offset + span.size
        total += max(0, end - max(span.offset, reached))
        reached = max(reached, end)
    return total


def _extent(addresses: dict[str, int], buffers: list[_Buffer]) -> int:
    return max((addresses[b.name] + b.size for b in buffers), default=0)


# By two buffers: ranges (a, b) of the first one's address minus the second's. At a < difference < b
# they would share bytes that both need at the same time.
_Conflicts = Mapping[str, Mapping[str, Sequence[tuple[int, int]]]]


def _conflicts(buffers: list[_Buffer]) -> _Conflicts:
    conflicts: dict[str, dict[str, list[tuple[int, int]]]] = {b.name: {} for b in buffers}
    alive: list[_Buffer] = []
    for buffer in sorted(buffers, key=lambda b: b.first):
        alive = [other for other in alive if other.meets(buffer)]
        for other in alive:
            conflicts[buffer.name][other.name] = _forbidden(buffer, other)
            conflicts[other.name][buffer.name] = _forbidden(other, buffer)
        alive.append(buffer)
    return conflicts


def _forbidden(buffer: _Buffer, other: _Buffer) -> list[tuple[int, int]]:
    """Ranges of a buffer's address relative to another's; see `_Conflicts`."""
    ranges = []
    for taken in other.spans_during(buffer):
        begin, end = taken.offset, taken.offset + taken.size
        for span in buffer.spans_during(other):
            if span.first <= taken.last and taken.first <= span.last:
                before = end if span.eats and span.eats == taken.tensor else begin
                after = end - span.size if taken.eats and taken.eats == span.tensor else end
                ranges.append((before - span.offset - span.size, after - span.offset))
    return ranges


def _place_in_order(order: list[_Buffer], conflicts: _Conflicts) -> dict[str, int]:
    addresses: dict[str, int] = {}
    for buffer in order:
        forbidden = [
            (addresses[other] + start, addresses[other] + end)
            for other, ranges in conflicts[buffer.name].items()
            if other in addresses
            for start, end in ranges
        ]
        address = 0
        for start, end in sorted(forbidden):
            if address <= start:
                break
            address = max(address, _aligned(end))
        addresses[buffer.name] = address
    return addresses


def _aligned(address: int) -> int:
    return -(-address // ALIGNMENT) * ALIGNMENT


def _step(selection: Selection, addresses: dict[str, int]) -> Step:
    node = selection.layer.node
    return Step(
        selection,
        inputs=tuple(addresses[name] for name in node.inputs),
        output=addresses[node.output],
        scratch=addresses.get(_scratch_name(selection), 0),
    )
