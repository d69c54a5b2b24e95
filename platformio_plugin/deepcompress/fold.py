"""Fewer nodes, the same function: what disappears into its neighbour.

A rewrite is a row of `REWRITES`: its name, and a function that returns the nodes to put in place of
a producer and its only consumer, or None where it does not apply. Rows are tried in order until
none applies. `check.same_function` proves the result numerically.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deepcompress.graph import Clamp, Graph, Node
from deepcompress.ops.conv2d import Conv2d

Rewrite = Callable[[Node, Node], Node | None]


def fold(graph: Graph) -> Graph:
    """The graph without flatten, with activations and pooling inside what feeds them."""
    graph = drop_views(graph)
    while (folded := _fold_once(graph)) is not None:
        graph = folded
    return graph


def drop_views(graph: Graph) -> Graph:
    """Activations lie contiguously, so a change of shape is no work: consumers read through."""
    views = {node.output: node.inputs[0] for node in graph.nodes if node.op == "flatten"}

    def behind(tensor: str) -> str:
        while tensor in views:
            tensor = views[tensor]
        return tensor

    nodes = tuple(
        replace(node, inputs=tuple(behind(tensor) for tensor in node.inputs))
        for node in graph.nodes
        if node.op != "flatten"
    )
    outputs = tuple(behind(tensor) for tensor in graph.outputs)
    return replace(graph, nodes=nodes, outputs=outputs)


def _clamp_into_producer(producer: Node, consumer: Node) -> Node | None:
    if consumer.op != "clamp":
        return None
    limits = Clamp(consumer.attributes.minimum, consumer.attributes.maximum)
    return replace(producer, clamp=producer.clamp.then(limits).then(consumer.clamp))


def _pool_into_convolution(producer: Node, consumer: Node) -> Node | None:
    """Where windows neither overlap (work would be done twice) nor reach outside."""
    if producer.op != "conv2d" or consumer.op != "max_pool2d":
        return None
    pool = consumer.attributes
    overlaps = any(s < k for s, k in zip(pool.stride, pool.kernel, strict=True))
    if overlaps or any(pool.padding) or producer.attributes.pool:
        return None
    attributes: Conv2d = replace(producer.attributes, pool=pool)
    # max(clamp(x)) = clamp(max(x)), so the activation may come after the pooling.
    return replace(producer, attributes=attributes, clamp=producer.clamp.then(consumer.clamp))


REWRITES: tuple[tuple[str, Rewrite], ...] = (
    ("an activation function into what feeds it", _clamp_into_producer),
    ("pooling into the convolution before it", _pool_into_convolution),
)


def _fold_once(graph: Graph) -> Graph | None:
    for consumer in graph.nodes:
        producer = graph.producer(consumer.inputs[0])
        alone = producer and len(graph.consumers(producer.output)) == 1
        if not alone or producer.output in graph.outputs:
            continue
        for _, rewrite in REWRITES:
            folded = rewrite(producer, consumer)
            if folded is not None:
                return _put(graph, producer, consumer, replace(folded, output=consumer.output))
    return None


def _put(graph: Graph, producer: Node, consumer: Node, folded: Node) -> Graph:
    nodes = tuple(
        folded if node is producer else node for node in graph.nodes if node is not consumer
    )
    return replace(graph, nodes=nodes)
