"""Dead-channel removal: channels that pruning has emptied leave the graph.

The value of a channel without weights is constant and can be added to the biases of the layers that
read it. A channel that no weight reads need not be computed. The result is a smaller network of the
same function: indices of its weights take fewer bits, and its tensors take less RAM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np

from deepcompress.ir.arrays import AnyArray, BoolArray, Float32Array, Float64Array, frozen
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops.clamp import Limits
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d


@dataclass(frozen=True)
class _Reader:
    """A layer with weights that reads another layer's channels.

    Attributes:
        constants: float64 [channels], the value that reaches it of each channel without weights.
    """

    node: Node
    constants: Float64Array


@dataclass(frozen=True)
class _Channels:
    """The output channels of a layer.

    Attributes:
        tensors: that have these channels: the layer's output, and those pooled or clamped from it.
        readers: all layers that read one of the tensors.
    """

    tensors: tuple[str, ...]
    readers: tuple[_Reader, ...]


def remove_dead_channels(graph: Graph) -> Graph:
    """The graph without output channels that are constant or not read.

    Args:
        graph: fused. These stay: channels that a grouped convolution computes or reads; a constant
            other than zero that a padded convolution reads (it reads zeros at the border); the
            network's inputs and outputs; and one channel of each layer.
    """
    channels, changed = _ChannelGraph(graph), False
    while (node := channels.next_layer()) is not None:
        if (spread := channels.follow(node)) is not None:
            dead = _are_constant(node, spread.readers) | ~_are_read(node, spread.readers)
            if dead.all():
                dead[0] = False
            if dead.any():
                channels.remove(node, spread, dead)
                changed = True
    return channels.graph() if changed else graph


class _ChannelGraph:
    """The graph while channels are removed: its nodes change, but not how they are connected."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tensors = dict(graph.tensors)
        self._nodes = {node.output: node for node in graph.nodes}
        self._index = {node.output: i for i, node in enumerate(graph.nodes)}
        self._readers: dict[str, list[str]] = {}
        for node in graph.nodes:
            for tensor in dict.fromkeys(node.inputs):
                self._readers.setdefault(tensor, []).append(node.output)
        self._waiting = [(i, node.output) for i, node in enumerate(graph.nodes)]
        heapify(self._waiting)

    def graph(self) -> Graph:
        return replace(self._graph, nodes=tuple(self._nodes.values()), tensors=self._tensors)

    def next_layer(self) -> Node | None:
        """The first node that may have dead channels that it did not have when returned before."""
        while self._waiting:
            entry = heappop(self._waiting)
            if not self._waiting or self._waiting[0] != entry:
                return self._nodes[entry[1]]
        return None

    def follow(self, node: Node) -> _Channels | None:
        """Who reads the channels of a layer; None if they must stay."""
        if not _has_removable_channels(node):
            return None
        constants = {node.output: _clamped(node.parameters["bias"].astype(np.float64), node.clamp)}
        tensors, readers = [node.output], []
        for tensor in tensors:
            if tensor in self._graph.outputs:
                return None
            for output in self._readers.get(tensor, ()):
                reader = self._nodes[output]
                if isinstance(reader.attributes, (MaxPool2d, Limits)):
                    tensors.append(reader.output)
                    constants[reader.output] = _channelwise(reader, constants[tensor])
                elif _has_removable_channels(reader):
                    readers.append(_Reader(reader, constants[tensor]))
                else:
                    return None
        return _Channels(tuple(tensors), tuple(readers))

    def remove(self, node: Node, channels: _Channels, dead: BoolArray) -> None:
        """Removes a layer's dead channels, and adds their constants to the readers' biases."""
        self._change(_without_rows(node, dead))
        for reader in channels.readers:
            self._change(_without_columns(reader, dead))
        left = int((~dead).sum())
        for name in channels.tensors:
            self._tensors[name] = Tensor(name, (left, *self._tensors[name].shape[1:]))

    def _change(self, node: Node) -> None:
        """Replaces a layer; it and the layer whose channels it reads may have dead ones now."""
        self._nodes[node.output] = node
        heappush(self._waiting, (self._index[node.output], node.output))
        before = self._nodes.get(node.inputs[0])
        while before is not None and isinstance(before.attributes, (MaxPool2d, Limits)):
            before = self._nodes.get(before.inputs[0])
        if before is not None:
            heappush(self._waiting, (self._index[before.output], before.output))


def _has_removable_channels(node: Node) -> bool:
    return isinstance(node.attributes, (Conv2d, Linear)) and node.attributes.groups == 1


def _channelwise(node: Node, constants: Float64Array) -> Float64Array:
    """The output of a pooling or a clamp for constant channels; their maximum is the constant."""
    if isinstance(node.attributes, Limits):
        limits = Clamp(node.attributes.minimum, node.attributes.maximum)
        constants = _clamped(constants, limits)
    return _clamped(constants, node.clamp)


def _clamped(values: Float64Array, clamp: Clamp) -> Float64Array:
    clipped: Float64Array = np.clip(values, clamp.minimum, clamp.maximum)
    return clipped


def _are_constant(node: Node, readers: tuple[_Reader, ...]) -> BoolArray:
    """Whether each channel is a constant that every reader's bias can contain, bool [channels]."""
    weight = node.parameters["weight"]
    constant: BoolArray = np.all(weight.reshape(len(weight), -1) == 0, axis=1)
    for reader in readers:
        attributes = reader.node.attributes
        if isinstance(attributes, Conv2d) and any(attributes.padding):
            constant &= reader.constants == 0
    return constant


def _are_read(node: Node, readers: tuple[_Reader, ...]) -> BoolArray:
    """Whether any reader has a weight other than zero on each channel, bool [channels]."""
    read = np.zeros(len(node.parameters["weight"]), np.bool_)
    for reader in readers:
        read |= _by_channel(reader.node.parameters["weight"], len(read)).any(axis=(0, 2))
    return read


def _by_channel(weight: Float32Array, channels: int) -> Float32Array:
    """A reader's weight as [rows, input channels, weights per row and channel]."""
    return weight.reshape(len(weight), channels, -1)


def _without_rows(node: Node, dead: BoolArray) -> Node:
    parameters = {name: _contiguous(array[~dead]) for name, array in node.parameters.items()}
    attributes, count = node.attributes, len(parameters["bias"])
    if isinstance(attributes, Conv2d):
        return replace(
            node, parameters=parameters, attributes=replace(attributes, out_channels=count)
        )
    assert isinstance(attributes, Linear)
    return replace(node, parameters=parameters, attributes=replace(attributes, out_features=count))


def _without_columns(reader: _Reader, dead: BoolArray) -> Node:
    node, attributes = reader.node, reader.node.attributes
    weight, bias = node.parameters["weight"], node.parameters["bias"]
    by_channel = _by_channel(weight, len(dead))
    added = by_channel[:, dead].astype(np.float64).sum(axis=2) @ reader.constants[dead]
    kept = by_channel[:, ~dead]
    if isinstance(attributes, Conv2d):
        attributes = replace(attributes, in_channels=kept.shape[1])
        kept = kept.reshape(len(kept), -1, *weight.shape[2:])
    else:
        assert isinstance(attributes, Linear)
        kept = kept.reshape(len(kept), -1)
        attributes = replace(attributes, in_features=kept.shape[1])
    parameters = {"weight": _contiguous(kept), "bias": _contiguous(bias + added)}
    return replace(node, attributes=attributes, parameters=parameters)


def _contiguous(array: AnyArray) -> Float32Array:
    return frozen(np.ascontiguousarray(array, np.float32))
