"""Memory planning: the address of every tensor and of all scratch, before the C compiler runs.

Tensors whose lifetimes do not overlap share bytes of one arena. In a chain of layers these are two
alternating buffers (Unlu, arXiv 2007.01348), of the size of the largest adjacent pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from deepcompress.backend.buffer_aliasing import ALIGNMENT, Overlay, alias_buffers, last_uses
from deepcompress.backend.plan import Plan, SelectedGraph, Selection, Step

# Measured: return addresses, saved registers and spills of `infer`, a layer and its callees.
STACK_BYTES = 200
# Limits of the search: placements, and compared pairs of buffers. They take half a second.
_ATTEMPTS, _PAIRS = 2000, 2_000_000


@dataclass(frozen=True)
class _Span:
    """Bytes of a buffer, from `offset` on, that are needed from step `first` to `last`.

    Attributes:
        tensor: the tensor in these bytes.
        overwrites: for scratch to which a tensor is copied from front to back as its last use: this
            tensor, which the scratch may overlap if it does not end after it.
    """

    offset: int
    size: int
    first: int
    last: int
    tensor: str = ""
    overwrites: str = ""


@dataclass(frozen=True)
class _Buffer:
    """Bytes that are needed from step `first` to step `last`, both included.

    Attributes:
        parts: for a buffer that contains tensors, the bytes that are needed and their lifetimes.
        overwrites: see `_Span`.
    """

    name: str
    size: int
    first: int
    last: int
    parts: tuple[_Span, ...] = ()
    overwrites: str = ""

    @property
    def spans(self) -> tuple[_Span, ...]:
        whole = _Span(0, self.size, self.first, self.last, overwrites=self.overwrites)
        return self.parts or (whole,)

    @cached_property
    def spans_by_step(self) -> Mapping[int, Sequence[_Span]]:
        """The spans that are needed at each step from step 0 on."""
        needed: dict[int, list[_Span]] = {}
        for span in self.spans:
            for step in range(max(span.first, 0), span.last + 1):
                needed.setdefault(step, []).append(span)
        return needed

    def meets(self, other: _Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last

    def spans_during(self, other: _Buffer) -> Iterable[_Span]:
        """The spans that are needed while the other buffer is, or all of them if they are few."""
        steps = range(max(0, self.first, other.first), min(self.last, other.last) + 1)
        if len(self.spans) <= len(steps) or other.first < 0:
            return self.spans
        return {span: None for step in steps for span in self.spans_by_step.get(step, ())}


def plan_memory(selected: SelectedGraph) -> Plan:
    """Addresses for every layer."""
    overlay = alias_buffers(selected.integer)
    buffers = _buffers(selected, overlay)
    addresses = place(buffers)
    arena = _extent(addresses, buffers)
    for name, at in overlay.places.items():
        addresses[name] = addresses[at.root] + at.offset
    steps = tuple(
        _step(selection, addresses)
        for name, selection in selected.selections.items()
        if name not in overlay.idle
    )
    return Plan(selected, steps, arena, addresses, overlay.places, STACK_BYTES)


def _scratch_name(selection: Selection) -> str:
    return f"{selection.layer.node.name} scratch"


def _buffers(selected: SelectedGraph, overlay: Overlay) -> list[_Buffer]:
    """Scratch, and the tensors that are not inside others, with the lifetimes of their parts."""
    graph = selected.integer
    born = dict.fromkeys(graph.inputs, -1)
    born.update((node.output, i) for i, node in enumerate(graph.nodes))
    dies = last_uses(graph)
    within: dict[str, list[_Span]] = {}
    for name, at in overlay.places.items():
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
    overwrites = source if scratch.may_overlap_input and last_use[source] == index else ""
    return _Buffer(_scratch_name(selection), scratch.bytes, first, last, overwrites=overwrites)


def place(buffers: list[_Buffer]) -> dict[str, int]:
    """Addresses such that buffers needed at the same time do not overlap: the best found.

    Buffers are placed in turn, each at the lowest address that is free throughout its lifetime, the
    largest first. Then random pairs are swapped in this order; a swap is kept if the arena does not
    grow. The search ends at the lower bound or a limit, and is the same in each run.
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
    overwritten = {(buffer.first, buffer.overwrites) for buffer in buffers if buffer.overwrites}
    total: Counter[int] = Counter()
    for buffer in buffers:
        for step, spans in buffer.spans_by_step.items():
            total[step] += _covered([s for s in spans if (step, s.tensor) not in overwritten])
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
    for occupied in other.spans_during(buffer):
        begin, end = occupied.offset, occupied.offset + occupied.size
        for span in buffer.spans_during(other):
            if span.first <= occupied.last and occupied.first <= span.last:
                before = end if _may_overwrite(span, occupied) else begin
                after = end - span.size if _may_overwrite(occupied, span) else end
                ranges.append((before - span.offset - span.size, after - span.offset))
    return ranges


def _may_overwrite(scratch: _Span, tensor: _Span) -> bool:
    return scratch.overwrites != "" and scratch.overwrites == tensor.tensor


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
