"""Fewer nodes, the same function: what disappears into its neighbour.

A rewrite is a row of `REWRITES`: its name, and a function that returns the nodes to put in place of
a producer and its only consumer, or None where it does not apply. Rows are tried in order until
none applies. `check.same_function` proves the result numerically.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import lcm

import numpy as np

from deepcompress.ir.arrays import Float32Array, frozen
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.recurrent import RECURRENT, last_step

# Operators whose output may as well have another shape: an attribute says which.
_OF_ANY_SHAPE = ("mean", "rearrange")
# The first of several nodes writes the producer's output, the last one the consumer's.
Rewrite = Callable[[Node, Node], tuple[Node, ...] | None]


def fuse(graph: Graph) -> Graph:
    """The graph with activations, pooling and changes of shape inside what is beside them."""
    graph = drop_views(graph)
    while (folded := _fold_once(graph)) is not None:
        graph = drop_views(folded)
    return graph


def drop_views(graph: Graph) -> Graph:
    """The graph without changes of shape that nobody needs.

    Activations lie contiguously, so one is no work anyway; but a layer behind it is not a neighbour
    of the layer before it. A Linear reads all there is as one vector, whatever its shape, of views
    in a row the last one counts, and some change nothing.
    """
    for view in graph.nodes:
        if view.op != "flatten":
            continue
        nodes = tuple(
            _reading_through(node, view) if _may_read_through(graph, node, view) else node
            for node in graph.nodes
        )
        outputs = graph.outputs
        if _changes_nothing(graph, view) and view.inputs[0] not in graph.inputs:
            outputs = tuple(view.inputs[0] if name == view.output else name for name in outputs)
        read = any(view.output in node.inputs for node in nodes) or view.output in outputs
        if not read:
            nodes = tuple(node for node in nodes if node.output != view.output)
            return drop_views(replace(graph, nodes=nodes, outputs=outputs))
        graph = replace(graph, nodes=nodes, outputs=outputs)
    return graph


def _may_read_through(graph: Graph, node: Node, view: Node) -> bool:
    before = graph.producer(view.inputs[0])
    if before is not None and before.op in _OF_ANY_SHAPE:
        return _changes_nothing(graph, view)
    return node.op in ("flatten", "linear", "rearrange") or _changes_nothing(graph, view)


def _changes_nothing(graph: Graph, view: Node) -> bool:
    return graph.tensors[view.inputs[0]].shape == view.attributes.shape


def _reading_through(node: Node, view: Node) -> Node:
    inputs = tuple(view.inputs[0] if name == view.output else name for name in node.inputs)
    return replace(node, inputs=inputs)


def _clamp_into_producer(producer: Node, consumer: Node) -> tuple[Node] | None:
    if consumer.op != "clamp" or _only_moves(producer):
        return None
    limits = Clamp(consumer.attributes.minimum, consumer.attributes.maximum)
    return (replace(producer, clamp=producer.clamp.then(limits).then(consumer.clamp)),)


def _clamp_before_move(producer: Node, consumer: Node) -> tuple[Node, Node] | None:
    """Where it may then disappear into what computes the values that are moved."""
    if consumer.op != "clamp" or not _only_moves(producer) or len(producer.inputs) > 1:
        return None
    limits = consumer.attributes
    if producer.op == "history" and not limits.minimum <= 0 <= limits.maximum:
        return None  # It begins with zeros.
    if producer.op == "pad":
        value = float(np.clip(producer.attributes.value, limits.minimum, limits.maximum))
        producer = replace(producer, attributes=replace(producer.attributes, value=value))
    return _swapped(producer, consumer)


def _swapped(producer: Node, consumer: Node) -> tuple[Node, Node]:
    return (
        replace(consumer, inputs=producer.inputs, output=producer.output),
        replace(producer, inputs=(producer.output,), output=consumer.output),
    )


def _only_moves(node: Node) -> bool:
    return OPERATORS[node.op].only_moves


def _pool_into_convolution(producer: Node, consumer: Node) -> tuple[Node] | None:
    """Where windows neither overlap (work would be done twice) nor reach outside."""
    if producer.op != "conv2d" or consumer.op != "max_pool2d":
        return None
    pool = consumer.attributes
    overlaps = any(s < k for s, k in zip(pool.stride, pool.extent, strict=True))
    if overlaps or any(pool.padding) or pool.ceil or producer.attributes.pool:
        return None
    attributes: Conv2d = replace(producer.attributes, pool=pool)
    # max(clamp(x)) = clamp(max(x)), so the activation may come after the pooling.
    return (replace(producer, attributes=attributes, clamp=producer.clamp.then(consumer.clamp)),)


def _scaling_into_producer(producer: Node, consumer: Node) -> tuple[Node] | None:
    """BatchNorm and the like into the weights before it, or into another of its kind."""
    if consumer.op != "scale_shift" or producer.clamp != Clamp():
        return None
    scale, shift = (consumer.parameters[name] for name in ("scale", "shift"))
    if producer.op == "scale_shift":
        channels = lcm(len(scale), len(producer.parameters["scale"]))
        scale, shift, first, second = (
            _repeated(array, channels)
            for array in (scale, shift, *map(producer.parameters.get, ("scale", "shift")))
        )
        parameters = {
            "scale": _float32(scale * first),
            "shift": _float32(scale * second + shift),
        }
        attributes = replace(producer.attributes, channels=channels)
    elif producer.op in ("conv2d", "linear"):
        rows = len(producer.parameters["weight"])
        # The maximum of a pooling window would become a minimum.
        turned = producer.op == "conv2d" and producer.attributes.pool and (scale < 0).any()
        if rows % len(scale) or turned:
            return None
        scale, shift = _repeated(scale, rows), _repeated(shift, rows)
        weight, bias = producer.parameters["weight"], producer.parameters["bias"]
        across = scale.reshape(-1, *[1] * (weight.ndim - 1))
        parameters = {
            "weight": _float32(weight * across),
            "bias": _float32(bias * scale + shift),
        }
        attributes = producer.attributes
    else:
        return None
    return (replace(producer, attributes=attributes, parameters=parameters, clamp=consumer.clamp),)


def _scaling_into_consumer(producer: Node, consumer: Node) -> tuple[Node] | None:
    """Into the weights behind it, where these see no border to which nothing was added."""
    if producer.op != "scale_shift" or producer.clamp != Clamp():
        return None
    scale, shift = (producer.parameters[name] for name in ("scale", "shift"))
    a = consumer.attributes
    if consumer.op == "linear":
        columns, groups = a.in_features, 1
        exact = columns == producer.attributes.values
    elif consumer.op == "conv2d":
        columns, groups = a.in_channels, a.groups
        exact = not any(a.padding) or not shift.any()
    else:
        return None
    if not exact or columns % len(scale):
        return None
    # Each group of output channels reads its own part of the input's: [groups, rows, columns, ...].
    weight = consumer.parameters["weight"].astype(np.float64)
    grouped = weight.reshape(groups, len(weight) // groups, columns // groups, -1)
    across = (_repeated(array, columns).reshape(groups, 1, -1, 1) for array in (scale, shift))
    scale, shift = across
    bias = consumer.parameters["bias"] + (grouped * shift).sum(axis=(2, 3)).ravel()
    parameters = {
        "weight": _float32((grouped * scale).reshape(weight.shape)),
        "bias": _float32(bias),
    }
    return (replace(consumer, inputs=producer.inputs, parameters=parameters),)


def _repeated(array: np.ndarray, channels: int) -> np.ndarray:
    """One value for each of more channels, which lie where fewer lay; float64."""
    return np.repeat(array.astype(np.float64), channels // len(array))


def _float32(array: np.ndarray) -> Float32Array:
    return frozen(array.astype(np.float32))


def _scaling_before_view(producer: Node, consumer: Node) -> tuple[Node, Node] | None:
    if consumer.op != "scale_shift" or producer.op != "flatten":
        return None
    return _swapped(producer, consumer)


def _padding_into_convolution(producer: Node, consumer: Node) -> tuple[Node] | None:
    """Zeros around an image, which the convolution would put there itself."""
    if producer.op != "pad" or consumer.op != "conv2d":
        return None
    pad, a = producer.attributes, consumer.attributes
    if pad.mode != "constant" or pad.value != 0 or any(pad.around[0]):
        return None
    (top, bottom), (left, right) = pad.around[1:]
    padding = tuple(map(sum, zip(a.padding, (top, left, bottom, right), strict=True)))
    attributes = replace(a, padding=padding)
    return (replace(consumer, inputs=producer.inputs, attributes=attributes),)


def _padding_behind_view(producer: Node, consumer: Node) -> tuple[Node, Node] | None:
    """Of a line that becomes an image of one row, so that the convolution's neighbour is the
    padding."""
    if producer.op != "pad" or consumer.op != "flatten" or len(producer.attributes.around) != 2:
        return None
    channels, *row, length = consumer.attributes.shape
    over_channels, along = producer.attributes.around
    if row != [1] or any(over_channels):
        return None
    view = replace(consumer.attributes, shape=(channels, 1, length - sum(along)))
    pad = replace(producer.attributes, around=(over_channels, (0, 0), along))
    return (
        replace(consumer, inputs=producer.inputs, output=producer.output, attributes=view),
        replace(producer, inputs=(producer.output,), output=consumer.output, attributes=pad),
    )


def _order_into_linear_before(producer: Node, consumer: Node) -> tuple[Node, Node] | None:
    """Rows in another order, or some of them, compute the moved values in their places."""
    if producer.op != "linear" or consumer.op != "rearrange":
        return None
    places = consumer.attributes.places()
    if len(places) > producer.attributes.out_features:
        return None
    arrays = {name: _float32(array[places]) for name, array in producer.parameters.items()}
    attributes = replace(producer.attributes, out_features=len(places))
    linear = replace(producer, attributes=attributes, parameters=arrays)
    return linear, _view_as(consumer, producer.output)


def _order_into_linear_behind(producer: Node, consumer: Node) -> tuple[Node] | None:
    """Columns in another order read each value where it was before it was moved."""
    if producer.op != "rearrange" or consumer.op != "linear":
        return None
    places = producer.attributes.places()
    if len(places) != producer.attributes.values or len(set(places.tolist())) != len(places):
        return None
    weight = np.empty_like(consumer.parameters["weight"])
    weight[:, places] = consumer.parameters["weight"]
    parameters = {**consumer.parameters, "weight": _float32(weight)}
    return (replace(consumer, inputs=producer.inputs, parameters=parameters),)


def _there_and_back(producer: Node, consumer: Node) -> tuple[Node] | None:
    """Two rearrangements, such as channels last and first again, that leave all as it was."""
    if producer.op != "rearrange" or consumer.op != "rearrange":
        return None
    places = producer.attributes.places()[consumer.attributes.places()]
    if len(places) != producer.attributes.values or (places != np.arange(len(places))).any():
        return None
    return (_view_as(consumer, producer.inputs[0]),)


def _shape_of_moved(producer: Node, consumer: Node) -> tuple[Node] | None:
    """What gives its output any shape gives it the one that is wanted."""
    if producer.op not in _OF_ANY_SHAPE or consumer.op != "flatten":
        return None
    shape = consumer.attributes.shape
    return (replace(producer, attributes=replace(producer.attributes, shape=shape)),)


def _last_step(producer: Node, consumer: Node) -> tuple[Node, Node] | None:
    """Where no other output of a recurrent layer is read, it need not keep them."""
    if producer.op not in RECURRENT or consumer.op != "rearrange" or producer.attributes.last:
        return None
    wanted = last_step(producer.attributes)
    if consumer.attributes.places().tolist() != wanted.places().tolist():
        return None
    last = replace(producer, attributes=replace(producer.attributes, last=True))
    return last, _view_as(consumer, producer.output)


def _view_as(node: Node, source: str) -> Node:
    """In the place of a node a view of a tensor, in the shape of the node's output."""
    return replace(node, op="flatten", inputs=(source,), attributes=Flatten(node.attributes.shape))


REWRITES: tuple[tuple[str, Rewrite], ...] = (
    ("an activation function into what feeds it", _clamp_into_producer),
    ("an activation function ahead of what only moves values", _clamp_before_move),
    ("pooling into the convolution before it", _pool_into_convolution),
    ("a scaling into the weights before it", _scaling_into_producer),
    ("a scaling ahead of a change of shape", _scaling_before_view),
    ("a scaling into the weights behind it", _scaling_into_consumer),
    ("zeros around an image into the convolution behind them", _padding_into_convolution),
    ("padding of a line behind its view as an image", _padding_behind_view),
    ("an order into the Linear before it", _order_into_linear_before),
    ("an order into the Linear behind it", _order_into_linear_behind),
    ("the last step into the recurrent layer before it", _last_step),
    ("an order that another takes back", _there_and_back),
    ("a shape into what is moved or summed", _shape_of_moved),
)


def _fold_once(graph: Graph) -> Graph | None:
    for consumer in graph.nodes:
        for tensor in consumer.inputs:
            producer = graph.producer(tensor)
            alone = producer and len(graph.consumers(tensor)) == 1
            if not alone or tensor in graph.outputs:
                continue
            for _, rewrite in REWRITES:
                folded = rewrite(producer, consumer)
                if folded is not None:
                    return _put(graph, producer, consumer, folded)
    return None


def _put(graph: Graph, producer: Node, consumer: Node, folded: tuple[Node, ...]) -> Graph:
    """The graph with these nodes in the place of the consumer, where all their inputs are known."""
    folded = (*folded[:-1], replace(folded[-1], output=consumer.output))
    tensors = dict(graph.tensors)
    for node in folded:
        shapes = [tensors[name].shape for name in node.inputs]
        shape = OPERATORS[node.op].output_shape(node.attributes, shapes)
        tensors[node.output] = Tensor(node.output, shape)
    nodes = []
    for node in graph.nodes:
        if node is consumer:
            nodes.extend(folded)
        elif node is not producer:
            nodes.append(node)
    # What lies between the folded nodes has other values than before.
    between = {node.output for node in folded[:-1]}
    ranges = {name: by for name, by in graph.ranges.items() if name not in between}
    return replace(graph, nodes=tuple(nodes), tensors=tensors, ranges=ranges)
