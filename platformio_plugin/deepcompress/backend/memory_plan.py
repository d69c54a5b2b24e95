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
from deepcompress.backend.cost_model import estimate
from deepcompress.backend.select_encodings import stored_weights
from deepcompress.ir.graph import EncodedGraph, IntegerNode, Plan, Step
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import column_words, copied_bytes, panel_words, tap_words

# Return addresses, saved registers and spills of `infer`, a layer and what it calls, measured.
STACK_BYTES = 200
# How often buffers are placed anew to save bytes, and how many pairs are compared: half a second.
_ATTEMPTS, _PAIRS = 2000, 2_000_000


@dataclass(frozen=True)
class _Span:
    """Bytes of a buffer, from `offset` on, that are needed from step `first` to `last`.

    Attributes:
        tensor: which lies there.
        eats: of scratch that a tensor is copied to from the front on, as its last use: this tensor,
            over which it may lie as long as it does not end behind it.
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
        parts: of a buffer in which tensors lie, which of its bytes are needed when.
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


def plan_memory(encoded: EncodedGraph, *, cpu: str) -> Plan:
    """Addresses and costs for every layer."""
    laid = alias_buffers(encoded.integer)
    buffers = _buffers(encoded, laid)
    addresses = place(buffers)
    arena = _extent(addresses, buffers)
    for name, at in laid.places.items():
        addresses[name] = addresses[at.root] + at.offset
    nodes = [node for node in encoded.integer.nodes if node.name not in laid.idle]
    steps = tuple(_step(encoded, node, addresses, cpu) for node in nodes)
    return Plan(encoded, cpu, steps, arena, addresses, laid.places, STACK_BYTES)


def scratch_name(node: IntegerNode) -> str:
    return f"{node.name} scratch"


def is_stateful(node: IntegerNode) -> bool:
    """Whether its scratch lasts from one inference to the next."""
    return node.attributes.stateful


def scratch_words(encoded: EncodedGraph, node: IntegerNode) -> int:
    """4-byte words of a convolution's scratch before its padded input."""
    if node.op != "conv2d":
        return 0
    encoding = encoded.weights[node.name].encoding
    if encoding == "panel":
        return panel_words(node.weight)
    shape = encoded.integer.tensors[node.inputs[0]].shape
    taps = tap_words(node.attributes, node.weight, shape)
    # Which of its ways a dense convolution takes is for the C compiler to say.
    return max(taps, column_words(node.weight)) if encoding == "dense" else taps


def copies_input(encoded: EncodedGraph, node: IntegerNode) -> bool:
    """Whether a kernel begins by copying its whole input to the end of its scratch.

    It does so from the front on. So the scratch may lie over the input, if it ends where the input
    does or before: what is written never catches up with what is still to be read.
    """
    return node.op == "conv2d" and node.attributes.groups == 1 and _copied_bytes(encoded, node) > 0


def _copied_bytes(encoded: EncodedGraph, node: IntegerNode) -> int:
    """Of a convolution's scratch, the copy of its input or of that of a group."""
    weight = encoded.weights[node.name]
    shape = encoded.integer.tensors[node.inputs[0]].shape
    return 0 if weight.encoding == "panel" else copied_bytes(node.attributes, shape, weight.tiles)


def _scratch_bytes(encoded: EncodedGraph, node: IntegerNode) -> int:
    shape = encoded.integer.tensors[node.inputs[0]].shape
    if node.op != "conv2d":
        return OPERATORS[node.op].scratch_bytes(node.attributes, shape)
    return 4 * scratch_words(encoded, node) + _copied_bytes(encoded, node)


def _buffers(encoded: EncodedGraph, laid: Overlay) -> list[_Buffer]:
    """Tensors that do not lie in others, for as long as any in them is needed, and scratch."""
    graph = encoded.integer
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
        _Buffer(
            scratch_name(node),
            size,
            *((-1, len(graph.nodes)) if is_stateful(node) else (i, i)),
            eats=node.inputs[0]
            if copies_input(encoded, node) and dies[node.inputs[0]] == i
            else "",
        )
        for i, node in enumerate(graph.nodes)
        if (size := _scratch_bytes(encoded, node))
    ]
    return tensors + scratch


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


def _step(encoded: EncodedGraph, node: IntegerNode, addresses: dict[str, int], cpu: str) -> Step:
    weight = encoded.weights.get(node.name)
    stored = stored_weights(node, weight.encoding) if weight else 0
    cost = estimate(node, weight, stored, encoded.integer.tensors[node.output].shape, cpu)
    return Step(
        node=node,
        inputs=tuple(addresses[name] for name in node.inputs),
        output=addresses[node.output],
        scratch=addresses.get(scratch_name(node), 0),
        scratch_bytes=_scratch_bytes(encoded, node),
        macs=cost.macs,
        cycles=cost.cycles,
        code_bytes=cost.code_bytes,
    )
