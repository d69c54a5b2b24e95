"""Channels that pruning has emptied leave the graph, and what read them with them.

A channel without weights is the same number everywhere, which its readers' biases can take in; a
channel that nobody reads need not be computed. What is left is a smaller network of the same
function: its weights' places take fewer bits, and its tensors less RAM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepcompress.ir.arrays import frozen
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor

# Operators that hand each channel on by itself.
_CHANNELWISE = ("max_pool2d", "clamp")
_READERS = ("conv2d", "linear")


@dataclass(frozen=True)
class _Reader:
    """A layer with weights that takes in another layer's channels.

    Attributes:
        constants: float64 [channels], what reaches it of each channel that has no weights.
    """

    node: Node
    constants: np.ndarray


@dataclass(frozen=True)
class _Channels:
    """A layer's output channels on their way to those who read them.

    Attributes:
        tensors: in which they lie, the layer's own output first.
    """

    tensors: tuple[str, ...]
    readers: tuple[_Reader, ...]


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
        dead = _are_constant(node, channels.readers) | ~_are_read(node, channels.readers)
        if dead.all():
            dead[0] = False
        if dead.any():
            return _without(graph, node, channels, dead)
    return None


def _follow(graph: Graph, node: Node) -> _Channels | None:
    """Where a layer's channels go; None where they must stay."""
    if node.op not in _READERS or _is_grouped(node):
        return None
    constants = {node.output: _clamped(node.parameters["bias"].astype(np.float64), node.clamp)}
    tensors, readers = [node.output], []
    for tensor in tensors:
        if tensor in graph.outputs:
            return None
        for consumer in graph.consumers(tensor):
            if consumer.op in _CHANNELWISE:
                tensors.append(consumer.output)
                constants[consumer.output] = _handed_on(consumer, constants[tensor])
            elif consumer.op in _READERS and not _is_grouped(consumer):
                readers.append(_Reader(consumer, constants[tensor]))
            else:
                return None
    return _Channels(tuple(tensors), tuple(readers))


def _is_grouped(node: Node) -> bool:
    return node.attributes.groups > 1


def _handed_on(node: Node, constants: np.ndarray) -> np.ndarray:
    """What a channelwise operator makes of constants; their maximum is themselves."""
    if node.op == "clamp":
        constants = _clamped(constants, Clamp(node.attributes.minimum, node.attributes.maximum))
    return _clamped(constants, node.clamp)


def _clamped(values: np.ndarray, clamp: Clamp) -> np.ndarray:
    return np.clip(values, clamp.minimum, clamp.maximum)


def _are_constant(node: Node, readers: tuple[_Reader, ...]) -> np.ndarray:
    """Whether each channel is a constant that every reader's bias can take in, bool [channels]."""
    weight = node.parameters["weight"]
    constant = ~weight.reshape(len(weight), -1).any(axis=1)
    for reader in readers:
        if reader.node.op == "conv2d" and any(reader.node.attributes.padding):
            constant &= reader.constants == 0
    return constant


def _are_read(node: Node, readers: tuple[_Reader, ...]) -> np.ndarray:
    """Whether any weight of any reader is on each channel, bool [channels]."""
    read = np.zeros(len(node.parameters["weight"]), bool)
    for reader in readers:
        read |= _by_channel(reader.node.parameters["weight"], len(read)).any(axis=(0, 2))
    return read


def _by_channel(weight: np.ndarray, channels: int) -> np.ndarray:
    """A reader's weight as [rows, input channels, weights on one of them]."""
    return weight.reshape(len(weight), channels, -1)


def _without(graph: Graph, node: Node, channels: _Channels, dead: np.ndarray) -> Graph:
    """The graph without a layer's dead channels; their constants in the readers' biases."""
    changed = {node.name: _narrower(node, dead)}
    for reader in channels.readers:
        changed[reader.node.name] = _reading_less(reader, dead)
    left = int((~dead).sum())
    tensors = {
        name: Tensor(name, (left, *tensor.shape[1:])) if name in channels.tensors else tensor
        for name, tensor in graph.tensors.items()
    }
    nodes = tuple(changed.get(other.name, other) for other in graph.nodes)
    return replace(graph, nodes=nodes, tensors=tensors)


def _narrower(node: Node, dead: np.ndarray) -> Node:
    parameters = {name: _contiguous(array[~dead]) for name, array in node.parameters.items()}
    count = len(parameters["bias"])
    field = "out_channels" if node.op == "conv2d" else "out_features"
    return replace(
        node, parameters=parameters, attributes=replace(node.attributes, **{field: count})
    )


def _reading_less(reader: _Reader, dead: np.ndarray) -> Node:
    node = reader.node
    weight, bias = node.parameters["weight"], node.parameters["bias"]
    by_channel = _by_channel(weight, len(dead))
    taken_in = by_channel[:, dead].astype(np.float64).sum(axis=2) @ reader.constants[dead]
    kept = by_channel[:, ~dead]
    if node.op == "conv2d":
        attributes = replace(node.attributes, in_channels=kept.shape[1])
        kept = kept.reshape(len(kept), -1, *weight.shape[2:])
    else:
        kept = kept.reshape(len(kept), -1)
        attributes = replace(node.attributes, in_features=kept.shape[1])
    parameters = {
        "weight": _contiguous(kept),
        "bias": _contiguous((bias + taken_in).astype(np.float32)),
    }
    return replace(node, attributes=attributes, parameters=parameters)


def _contiguous(array: np.ndarray) -> np.ndarray:
    return frozen(np.ascontiguousarray(array))
