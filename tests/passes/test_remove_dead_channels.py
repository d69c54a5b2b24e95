"""Constant and unread channels are removed from the graph; its function stays the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops.clamp import Limits
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.passes import remove_dead_channels as dead_channels
from deepcompress.passes.fuse import fuse
from deepcompress.passes.remove_dead_channels import remove_dead_channels
from deepcompress.pipeline import verify
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import graphs

RELU = Clamp(0.0, np.inf)
random = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def network(padding: int = 0) -> Graph:
    """Conv 1 -> 4 with ReLU and pooling, conv 4 -> 5 with ReLU, linear 5*2*2 -> 6, linear -> 3."""
    side = 3 + 2 * padding
    convolution = Conv2d(1, 4, (3, 3), pool=MaxPool2d((2, 2), (2, 2)))
    second = Conv2d(4, 5, (2, 2), padding=(padding,) * 4)
    shapes = {"x": (1, 8, 8), "a": (4, 3, 3), "b": (5, side - 1, side - 1), "c": (6,), "y": (3,)}
    flat = 5 * (side - 1) ** 2
    nodes = (
        node("conv1", "conv2d", "x", "a", convolution, normal(4, 1, 3, 3), RELU),
        node("conv2", "conv2d", "a", "b", second, normal(5, 4, 2, 2), RELU),
        node("fc1", "linear", "b", "c", Linear(flat, 6), normal(6, flat), RELU),
        node("fc2", "linear", "c", "y", Linear(6, 3), normal(3, 6), Clamp()),
    )
    return Graph("net", {n: Tensor(n, s) for n, s in shapes.items()}, nodes, ("x",), ("y",))


def node(
    name: str,
    op: str,
    source: str,
    target: str,
    attributes: object,
    weight: np.ndarray,
    clamp: Clamp,
) -> Node:
    parameters = {"weight": weight, "bias": normal(len(weight))}
    return Node(name, op, (source,), target, attributes, parameters, clamp)


def with_zero_rows(graph: Graph, name: str, rows: list[int]) -> Graph:
    return changed(graph, name, lambda weight: weight.__setitem__(rows, 0))


def with_zero_columns(graph: Graph, name: str, columns: list[int]) -> Graph:
    return changed(graph, name, lambda weight: weight.__setitem__((slice(None), columns), 0))


def changed(graph: Graph, name: str, change: object) -> Graph:
    nodes = []
    for node in graph.nodes:
        if node.name == name:
            weight = node.parameters["weight"].copy()
            change(weight)
            node = replace(node, parameters={**node.parameters, "weight": weight})
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {node.name: node.parameters["weight"].shape for node in graph.nodes}


def assert_same_function(before: Graph, after: Graph) -> None:
    verify.shapes_follow(after)
    inputs = normal(4, *before.tensors[before.inputs[0]].shape)
    np.testing.assert_allclose(
        forward_numpy(after, inputs), forward_numpy(before, inputs), rtol=1e-4, atol=1e-4
    )


def test_a_live_network_is_left_alone() -> None:
    graph = network()
    assert remove_dead_channels(graph) is graph


def test_channels_without_weights_are_removed_and_their_constants_are_propagated() -> None:
    graph = with_zero_rows(with_zero_rows(network(), "conv1", [0, 2]), "fc1", [5])
    smaller = remove_dead_channels(graph)
    assert shapes(smaller) == {
        "conv1": (2, 1, 3, 3),
        "conv2": (5, 2, 2, 2),
        "fc1": (5, 20),
        "fc2": (3, 5),
    }
    assert smaller.tensors["a"].shape == (2, 3, 3)
    assert_same_function(graph, smaller)


def test_a_channel_that_no_layer_reads_is_removed_with_its_weights() -> None:
    def forget(weight: np.ndarray) -> None:
        weight[:, 4:8] = 0  # channel 1 of conv2's output, of 2 x 2

    graph = changed(network(), "fc1", forget)
    smaller = remove_dead_channels(graph)
    assert shapes(smaller)["conv2"] == (4, 4, 2, 2)
    assert shapes(smaller)["fc1"] == (6, 16)
    assert_same_function(graph, smaller)


def test_one_column_of_a_channel_that_is_read_keeps_the_channel() -> None:
    def forget(weight: np.ndarray) -> None:
        weight[:, 4:7] = 0

    graph = changed(network(), "fc1", forget)
    assert remove_dead_channels(graph) is graph


def test_a_channel_whose_only_reader_is_removed_is_removed_too() -> None:
    graph = changed(network(), "fc2", lambda weight: weight.__setitem__((slice(None), 3), 0))
    graph = changed(
        graph, "fc1", lambda weight: weight.__setitem__(([0, 1, 2, 4, 5], slice(0, 4)), 0)
    )
    smaller = remove_dead_channels(graph)
    assert shapes(smaller)["conv2"] == (4, 4, 2, 2)  # only fc1's row 3 had read it
    assert shapes(smaller)["fc1"] == (5, 16)
    assert_same_function(graph, smaller)


def test_a_constant_before_a_padded_convolution_stays_unless_it_is_zero() -> None:
    graph = with_zero_rows(network(padding=1), "conv1", [0, 1])
    first = graph.nodes[0]
    bias = np.array([2.0, -1.0, 0.5, 0.5], np.float32)  # the second is zero after the ReLU
    parameters = {**first.parameters, "bias": bias}
    graph = replace(graph, nodes=(replace(first, parameters=parameters), *graph.nodes[1:]))
    smaller = remove_dead_channels(graph)
    assert shapes(smaller)["conv1"] == (3, 1, 3, 3)
    assert_same_function(graph, smaller)


def test_a_layer_keeps_its_last_channel() -> None:
    graph = with_zero_rows(network(), "conv1", [0, 1, 2, 3])
    smaller = remove_dead_channels(graph)
    assert shapes(smaller)["conv1"] == (1, 1, 3, 3)
    assert_same_function(graph, smaller)


def test_the_outputs_of_the_network_stay() -> None:
    graph = with_zero_rows(network(), "fc2", [0, 1])
    assert shapes(remove_dead_channels(graph))["fc2"] == (3, 6)


@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_convolution_and_its_input_channels_stay(groups: int) -> None:
    graph = network()
    grouped = Conv2d(4, 4, (2, 2), groups=groups)
    second = node("conv2", "conv2d", "a", "b", grouped, normal(4, 4 // groups, 2, 2), RELU)
    third = node("fc1", "linear", "b", "c", Linear(16, 6), normal(6, 16), RELU)
    tensors = {**graph.tensors, "b": Tensor("b", (4, 2, 2))}
    nodes = (graph.nodes[0], second, third, graph.nodes[3])
    graph = with_zero_rows(replace(graph, tensors=tensors, nodes=nodes), "conv1", [1])
    assert remove_dead_channels(graph) is graph


def test_each_reader_folds_in_the_constant_that_it_reads() -> None:
    """Two layers read a channel of -1, one directly and one after a ReLU; each is the output."""
    wide, narrow = Linear(4, 3), Linear(3, 2)
    first = node("first", "linear", "x", "a", wide, normal(3, 4), Clamp())
    parameters = {name: array.copy() for name, array in first.parameters.items()}
    parameters["weight"][0], parameters["bias"][0] = 0, -1
    first = replace(first, parameters=parameters)
    nodes = (
        first,
        Node("relu", "clamp", ("a",), "b", Limits(0.0, np.inf), {}),
        node("after", "linear", "b", "y", narrow, normal(2, 3), Clamp()),
        node("direct", "linear", "a", "z", narrow, normal(2, 3), Clamp()),
    )
    sizes = {"x": 4, "a": 3, "b": 3, "y": 2, "z": 2}
    tensors = {name: Tensor(name, (size,)) for name, size in sizes.items()}
    for output in ("y", "z"):
        graph = Graph("net", tensors, nodes, ("x",), (output,))
        smaller = remove_dead_channels(graph)
        assert smaller.tensors["a"].shape == (2,)
        assert smaller.tensors["b"].shape == (2,)
        assert_same_function(graph, smaller)


@settings(max_examples=100, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_random_networks_keep_their_function(graph: Graph, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for layer in graph.nodes:
        if "weight" in layer.parameters:
            size = layer.parameters["weight"].shape[:2]
            rows, columns = (np.flatnonzero(generator.random(n) < 0.4) for n in size)
            graph = with_zero_rows(graph, layer.name, rows.tolist())
            graph = with_zero_columns(graph, layer.name, columns.tolist())
    folded = fuse(graph)
    smaller = remove_dead_channels(folded)
    verify.shapes_follow(smaller)
    shape = folded.tensors[folded.inputs[0]].shape
    verify.same_function(folded, smaller, normal(3, *shape))


def test_the_work_is_proportional_to_the_number_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After channels of a layer are removed, only its neighbours are visited again."""

    def looks(layers: int) -> int:
        count = 0
        follow = dead_channels._ChannelGraph.follow

        def counting(self: object, node: Node) -> object:
            nonlocal count
            count += 1
            return follow(self, node)

        names = ["x", *(f"t{i}" for i in range(layers))]
        nodes = tuple(
            node(f"fc{i}", "linear", names[i], names[i + 1], Linear(4, 4), normal(4, 4), Clamp())
            for i in range(layers)
        )
        tensors = {name: Tensor(name, (4,)) for name in names}
        graph = Graph("net", tensors, nodes, ("x",), (names[-1],))
        for i in range(layers):
            graph = with_zero_rows(graph, f"fc{i}", [1])
        with monkeypatch.context() as patch:
            patch.setattr(dead_channels._ChannelGraph, "follow", counting)
            smaller = remove_dead_channels(graph)
        assert smaller.tensors["t0"].shape == (3,)
        return count

    assert looks(80) <= 3 * 80
