"""A lower bound of the arena of a network, over all orders of its layers.

While a layer runs, the tensors that it or later layers read and its output must be in memory. The
bound is the maximum of their bytes over the layers, minimized over all orders. Views (a reshape, a
slice, a concatenation) cost nothing, nor does the output of a kernel that runs in place on a dead
input. Addresses are ignored, so a memory plan may need more.
"""

from __future__ import annotations

from collections.abc import Iterator

from deepcompress.backend.plan import Plan
from deepcompress.ir.graph import IntegerGraph, IntegerNode
from deepcompress.ops import OPERATORS

Piece = tuple[str, int, int]  # the bytes [begin, end) of a tensor that a layer computes


def least_ram(plan: Plan, *, scratch: bool) -> int:
    """The lower bound in bytes, with or without the scratch of this plan's kernels.

    Dynamic programming over sets of layers that have run: only the smallest peak to reach a set
    matters.
    """
    graph = plan.integer
    pieces = _pieces(graph)
    layers = [node for node in graph.nodes if not _renames(graph, node)]
    extra = {step.node.name: step.scratch_bytes if scratch else 0 for step in plan.steps}
    eating = {
        step.node.name
        for step in plan.steps
        if scratch and step.selection.scratch.may_overlap_input
    }
    least = {frozenset[str](): 0}
    for _ in layers:
        after: dict[frozenset[str], int] = {}
        for done, so_far in least.items():
            left = [node for node in layers if node.name not in done]
            for node in _ready(left, graph, pieces):
                cost = _bytes_at(node, left, graph, pieces, extra, eating)
                reached = done | {node.name}
                after[reached] = min(after.get(reached, cost + so_far), max(cost, so_far))
        least = after
    return min(least.values())


def _bytes_at(
    node: IntegerNode,
    left: list[IntegerNode],
    graph: IntegerGraph,
    pieces: dict[str, list[Piece]],
    extra: dict[str, int],
    eating: set[str],
) -> int:
    """Live bytes while a layer runs: existing inputs of it and of later layers, and its output."""
    later = [name for other in left if other is not node for name in other.inputs]
    to_come = {other.output for other in left}
    kept = _present([*later, *graph.outputs], to_come, pieces)
    read = _present([*later, *graph.outputs, *node.inputs], to_come, pieces)
    output = graph.tensors[node.output].size
    if OPERATORS[node.op].in_place and _size(read) - _size(kept) >= output:
        output = 0
    return _size(kept if node.name in eating else read) + output + extra.get(node.name, 0)


def _present(names: list[str], to_come: set[str], pieces: dict[str, list[Piece]]) -> set[Piece]:
    return {piece for name in names for piece in pieces[name] if piece[0] not in to_come}


def _size(pieces: set[Piece]) -> int:
    """Bytes of the union of pieces."""
    total, tensor, reached = 0, "", 0
    for root, begin, end in sorted(pieces):
        if root != tensor:
            tensor, reached = root, 0
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def _ready(
    left: list[IntegerNode], graph: IntegerGraph, pieces: dict[str, list[Piece]]
) -> Iterator[IntegerNode]:
    """The layers whose inputs exist."""
    to_come = {node.output for node in left}
    for node in left:
        if not any(root in to_come for name in node.inputs for root, _, _ in pieces[name]):
            yield node


def _renames(graph: IntegerGraph, node: IntegerNode) -> bool:
    """Whether the output can be a view of the inputs."""
    shapes = [graph.tensors[name].shape for name in node.inputs]
    operator = OPERATORS[node.op]
    is_view = operator.view(node.attributes, shapes[0]) is not None
    return is_view or operator.parts(node.attributes, shapes) is not None


def _pieces(graph: IntegerGraph) -> dict[str, list[Piece]]:
    """The byte ranges that each tensor consists of."""
    pieces: dict[str, list[Piece]] = {
        name: [(name, 0, graph.tensors[name].size)] for name in graph.inputs
    }
    for node in graph.nodes:
        size = graph.tensors[node.output].size
        if not _renames(graph, node):
            pieces[node.output] = [(node.output, 0, size)]
        elif len(node.inputs) > 1:
            pieces[node.output] = [piece for name in node.inputs for piece in pieces[name]]
        else:
            shape = graph.tensors[node.inputs[0]].shape
            begin = OPERATORS[node.op].view(node.attributes, shape)
            pieces[node.output] = list(_cut(pieces[node.inputs[0]], begin, begin + size))
    return pieces


def _cut(pieces: list[Piece], begin: int, end: int) -> Iterator[Piece]:
    """The bytes [begin, end) of the concatenated pieces."""
    for root, first, last in pieces:
        size = last - first
        low, high = max(begin, 0), min(end, size)
        if low < high:
            yield root, first + low, first + high
        begin, end = begin - size, end - size
