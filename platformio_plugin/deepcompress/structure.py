"""Channels that pruning has emptied leave the graph, and what read them with them.

A channel without weights is the same number everywhere, which its readers' biases can take in; a
channel that nobody reads need not be computed. What is left is a smaller network of the same
function: its weights' places take fewer bits, and its tensors less RAM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepcompress.graph import Clamp, Graph, Node, Tensor

# Operators that hand each channel on by itself.
_CHANNELWISE = ("max_pool2d", "clamp")
_READERS = ("conv2d", "linear")


@dataclass(frozen=True)
class _Channels:
    """A layer's output channels on their way to those who read them.

    Attributes:
        tensors: in which they lie, the layer's own output first.
        between: channelwise operators on the way.
        readers: layers with weights that take them in.
    """

    tensors: tuple[str, ...]
    between: tuple[Node, ...]
    readers: tuple[Node, ...]


def remove_dead_channels(graph: Graph) -> Graph:
    """The graph without output channels that are constant or unread.

    Args:
        graph: folded. Grouped convolutions, and what feeds them, stay as they are; so do a
            constant other than zero that a padded convolution reads (it reads zeros at the
            border), the network's inputs and outputs, and each layer's last channel.
    """
    while (smaller := _remove_once(graph)) is not None:
        graph = smaller
    return graph


def _remove_once(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        channels = _follow(graph, node)
        if channels is None:
            continue
        constant = _constants(node, channels)
        unread = ~_is_read(graph, node, channels.readers)
        dead = unread | ~np.isnan(constant)
        if dead.all():
            dead[0] = False
        if dead.any():
            return _without(graph, node, channels, dead, np.where(unread, 0, constant))
    return None


def _follow(graph: Graph, node: Node) -> _Channels | None:
    """Where a layer's channels go; None where they must stay."""
    if "weight" not in node.parameters or _is_grouped(node):
        return None
    tensors, between, readers = [node.output], [], []
    for tensor in tensors:
        if tensor in graph.outputs:
            return None
        for consumer in graph.consumers(tensor):
            if consumer.op in _CHANNELWISE:
                tensors.append(consumer.output)
                between.append(consumer)
            elif consumer.op in _READERS and not _is_grouped(consumer):
                readers.append(consumer)
            else:
                return None
    return _Channels(tuple(tensors), tuple(between), tuple(readers))


def _is_grouped(node: Node) -> bool:
    return getattr(node.attributes, "groups", 1) > 1


def _constants(node: Node, channels: _Channels) -> np.ndarray:
    """The value of each channel without weights that all readers can take in; else NaN."""
    weight = node.parameters["weight"]
    values = _clamped(node.parameters["bias"].astype(np.float64), node.clamp)
    for step in channels.between:
        values = _clamped(values, step.clamp)
        if step.op == "clamp":
            values = _clamped(values, Clamp(step.attributes.minimum, step.attributes.maximum))
    padded = any(any(getattr(r.attributes, "padding", ())) for r in channels.readers)
    foldable = (values == 0) if padded else np.isfinite(values)
    empty = ~weight.reshape(len(weight), -1).any(axis=1)
    # Readers behind different operators may see different constants.
    simple = len(channels.between) <= 1 or len(set(map(id, channels.readers))) == 1
    return np.where(empty & foldable & simple, values, np.nan)


def _clamped(values: np.ndarray, clamp: Clamp) -> np.ndarray:
    return np.clip(values, clamp.minimum, clamp.maximum)


def _is_read(graph: Graph, node: Node, readers: tuple[Node, ...]) -> np.ndarray:
    """Whether any weight of any reader is on each channel, bool [channels]."""
    count = graph.tensors[node.output].shape[0]
    read = np.zeros(count, bool)
    for reader in readers:
        read |= _by_channel(reader.parameters["weight"], count).any(axis=(0, 2))
    return read


def _by_channel(weight: np.ndarray, channels: int) -> np.ndarray:
    """A reader's weight as [rows, input channels, weights on one of them]."""
    return weight.reshape(len(weight), channels, -1)


def _without(
    graph: Graph, node: Node, channels: _Channels, dead: np.ndarray, constants: np.ndarray
) -> Graph:
    """The graph without a layer's dead channels; their constants in the readers' biases."""
    changed = {node.name: _narrower(node, dead)}
    for reader in channels.readers:
        changed[reader.name] = _reading_less(reader, dead, constants)
    left = int((~dead).sum())
    tensors = {
        name: Tensor(name, (left, *tensor.shape[1:])) if name in channels.tensors else tensor
        for name, tensor in graph.tensors.items()
    }
    nodes = tuple(changed.get(other.name, other) for other in graph.nodes)
    return replace(graph, nodes=nodes, tensors=tensors)


def _narrower(node: Node, dead: np.ndarray) -> Node:
    parameters = {name: _frozen(array[~dead]) for name, array in node.parameters.items()}
    count = len(parameters["bias"])
    field = "out_channels" if node.op == "conv2d" else "out_features"
    return replace(
        node, parameters=parameters, attributes=replace(node.attributes, **{field: count})
    )


def _reading_less(reader: Node, dead: np.ndarray, constants: np.ndarray) -> Node:
    weight, bias = reader.parameters["weight"], reader.parameters["bias"]
    by_channel = _by_channel(weight, len(dead))
    taken_in = by_channel[:, dead].astype(np.float64).sum(axis=2) @ constants[dead]
    kept = by_channel[:, ~dead]
    if reader.op == "conv2d":
        attributes = replace(reader.attributes, in_channels=kept.shape[1])
        kept = kept.reshape(len(kept), -1, *weight.shape[2:])
    else:
        kept = kept.reshape(len(kept), -1)
        attributes = replace(reader.attributes, in_features=kept.shape[1])
    parameters = {
        "weight": _frozen(kept),
        "bias": _frozen((bias + taken_in).astype(np.float32)),
    }
    return replace(reader, attributes=attributes, parameters=parameters)


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
