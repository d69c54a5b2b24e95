"""A Graph under rewriting, indexed by tensor, so that a local change costs the same in any graph.

The editor knows who produces and who reads each tensor, and remembers which places a change may
have made interesting again. A pass visits these places only, in the order in which nodes run, and
so does what a restart from the first node after each change would do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from heapq import heappop, heappush

from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.flatten import Flatten


class GraphEditor:
    """Nodes are identified by the tensor that they produce.

    Attributes:
        tensors: of the graph as given, and those that rewrites added or reshaped.
        outputs: of the network.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.tensors = dict(graph.tensors)
        self.outputs = graph.outputs
        self._ranges = dict(graph.ranges)
        self._nodes = {node.output: node for node in graph.nodes}
        self._readers: dict[str, dict[str, None]] = {}
        for node in graph.nodes:
            self._connect(node)
        # The execution order: sorted, with room between any two for another.
        self._order = [Fraction(i) for i in range(len(graph.nodes))]
        self._positions = {node.output: Fraction(i) for i, node in enumerate(graph.nodes)}
        self._pairs = _Worklist(self._positions)
        self._views = _Worklist(self._positions)
        self._next_views: list[str] = []
        self._sweep_position: Fraction | None = None
        self._sweep_sources: dict[str, str] = {}
        self._view_readers: dict[str, dict[str, None]] = {}
        for node in graph.nodes:
            self._pairs.push(node.output)
            self._visit_view(node)

    def graph(self) -> Graph:
        """The graph as it is now."""
        nodes = sorted(self._nodes.values(), key=lambda node: self._positions[node.output])
        return replace(
            self._graph,
            nodes=tuple(nodes),
            tensors=dict(self.tensors),
            outputs=self.outputs,
            ranges=dict(self._ranges),
        )

    def producer(self, tensor: str) -> Node | None:
        """The node that computes a tensor; None for an input of the network."""
        return self._nodes.get(tensor)

    def is_read(self, tensor: str) -> bool:
        """Whether a node reads it, or the network returns it."""
        return bool(self._readers.get(tensor)) or tensor in self.outputs

    def sole_producer(self, tensor: str) -> Node | None:
        """The node that computes a tensor, if one node alone reads it and nothing else does."""
        shared = len(self._readers[tensor]) > 1 or tensor in self.outputs
        return None if shared else self._nodes.get(tensor)

    def is_network_input(self, tensor: str) -> bool:
        return tensor in self._graph.inputs

    def next_consumer(self) -> Node | None:
        """The first node whose surroundings have changed since it was returned, if any."""
        tensor = self._pairs.pop()
        return None if tensor is None else self._nodes[tensor]

    def begin_sweep(self) -> None:
        """Lets `next_view` begin again with the first view."""
        waiting, self._next_views = self._next_views, []
        self._sweep_position = None
        self._sweep_sources = {}
        for tensor in waiting:
            if tensor in self._nodes:
                self._views.push(tensor)

    def next_view(self) -> tuple[Node, list[Node]] | None:
        """The next view of this sweep with changed surroundings, and its readers to look at.

        The view is as it was when the sweep began: it reads what it read then. So of several views
        in a row, those that change nothing are removed before the others get other inputs.
        """
        while (tensor := self._views.pop()) is not None:
            readers = self._view_readers.pop(tensor, {})
            view = self._nodes[tensor]
            if not is_view(view):
                continue
            self._sweep_position = self._positions[tensor]
            if tensor in self._sweep_sources:
                self._next_views.append(tensor)
                self._view_readers[tensor] = dict(self._readers[tensor])
                view = replace(view, inputs=(self._sweep_sources[tensor],))
            return view, [self._nodes[name] for name in readers if name in self._readers[tensor]]
        return None

    def replace_pair(self, producer: Node, consumer: Node, nodes: tuple[Node, ...]) -> None:
        """Puts nodes in the place of a consumer, and removes its producer.

        Args:
            nodes: in execution order. The last one takes the consumer's output.
        """
        position = self._positions[consumer.output]
        self._remove(producer)
        self._remove(consumer)
        *first, last = nodes
        for node in first:
            self._add(node, self._just_before(position))
        self._add(replace(last, output=consumer.output), position)

    def redirect(self, reader: Node, old: str, new: str) -> None:
        """Makes a node read another tensor, of the same values."""
        self.copy_range(old, new)
        inputs = tuple(new if name == old else name for name in reader.inputs)
        position = self._positions[reader.output]
        if is_view(reader):
            self._sweep_sources.setdefault(reader.output, reader.inputs[0])
        self._remove(reader)
        self._add(replace(reader, inputs=inputs), position)

    def rename_output(self, old: str, new: str) -> None:
        """Makes the network return another tensor, of the same values."""
        self.copy_range(old, new)
        self.outputs = tuple(new if name == old else name for name in self.outputs)
        self._visit_sole_reader(old)

    def remove_view(self, view: Node) -> None:
        """Removes a view that is not read, and begins another sweep."""
        self.remove_range(view.output)
        self._remove(self._nodes[view.output])
        self.begin_sweep()

    def copy_range(self, source: str, target: str) -> None:
        """States the range of one tensor for another too, unless that one has a range."""
        if source in self._ranges:
            self._ranges.setdefault(target, self._ranges[source])

    def remove_range(self, tensor: str) -> None:
        """Removes the stated range of a tensor, if it has one."""
        self._ranges.pop(tensor, None)

    def set_shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        self.tensors[tensor] = Tensor(tensor, shape)

    def _just_before(self, position: Fraction) -> Fraction:
        """A position after all nodes that are before this one."""
        index = bisect_left(self._order, position)
        previous = self._order[index - 1] if index else position - 2
        return (previous + position) / 2

    def _add(self, node: Node, position: Fraction) -> None:
        self._nodes[node.output] = node
        self._positions[node.output] = position
        self._order.insert(bisect_left(self._order, position), position)
        self._connect(node)
        self._pairs.push(node.output)
        self._visit_sole_reader(node.output)
        self._visit_view(node)
        for tensor in node.inputs:
            self._visit_view(self._nodes.get(tensor), [node.output])
        for reader in self._readers[node.output]:
            self._visit_view(self._nodes[reader])

    def _remove(self, node: Node) -> None:
        del self._nodes[node.output]
        position = self._positions.pop(node.output)
        del self._order[bisect_left(self._order, position)]
        for tensor in dict.fromkeys(node.inputs):
            del self._readers[tensor][node.output]
            self._visit_sole_reader(tensor)
            self._visit_view(self._nodes.get(tensor), [])

    def _connect(self, node: Node) -> None:
        self._readers.setdefault(node.output, {})
        for tensor in node.inputs:
            self._readers.setdefault(tensor, {})[node.output] = None

    def _visit_sole_reader(self, tensor: str) -> None:
        """A rewrite may apply to a node and its producer once nothing else reads the tensor."""
        readers = self._readers.get(tensor, {})
        if len(readers) == 1:
            self._pairs.push(*readers)

    def _visit_view(self, node: Node | None, readers: Iterable[str] | None = None) -> None:
        """If the node is a view, looks again at these of its readers, by default at all."""
        if node is not None and is_view(node):
            chosen = self._readers[node.output] if readers is None else readers
            self._view_readers.setdefault(node.output, {}).update(dict.fromkeys(chosen))
            if self._is_passed(node.output):
                self._next_views.append(node.output)
            else:
                self._views.push(node.output)

    def _is_passed(self, view: str) -> bool:
        """Whether the sweep has looked at it already."""
        at = self._sweep_position
        return at is not None and self._positions[view] <= at


class _Worklist:
    """Tensors to look at, the one whose producer runs first comes first; each is in it once."""

    def __init__(self, positions: dict[str, Fraction]) -> None:
        self._positions = positions
        self._heap: list[tuple[Fraction, str]] = []
        self._waiting: set[tuple[Fraction, str]] = set()

    def push(self, tensor: str) -> None:
        entry = (self._positions[tensor], tensor)
        if entry not in self._waiting:
            self._waiting.add(entry)
            heappush(self._heap, entry)

    def pop(self) -> str | None:
        """None if no more are waiting. Skips those that have gone or moved since."""
        while self._heap:
            entry = heappop(self._heap)
            self._waiting.discard(entry)
            position, tensor = entry
            if self._positions.get(tensor) == position:
                return tensor
        return None


def is_view(node: Node) -> bool:
    """Whether it changes the shape alone."""
    return isinstance(node.attributes, Flatten)
