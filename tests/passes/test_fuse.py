"""Operators that are fused into a neighbour, and operators that must not be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.clamp import Limits
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.passes import fuse as fusion
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import observe_ranges
from deepcompress.pipeline import verify
from hypothesis import given, settings
from model_graphs import inputs_for, lowered, trained
from strategies import graphs
from torch import nn

RELU = ("clamp", Limits(0.0, np.inf))
POOL = ("max_pool2d", MaxPool2d((2, 2), (2, 2)))


def chain(*layers: tuple) -> Graph:
    """A graph of (op, attributes) on an 8x8 image, weights random."""
    random = np.random.default_rng(0)
    tensors, nodes, last = {"x": Tensor("x", (1, 8, 8))}, [], "x"
    for i, (op, attributes) in enumerate(layers):
        parameters = {}
        if isinstance(attributes, Conv2d):
            shape = (attributes.out_channels, attributes.in_channels, *attributes.kernel)
            parameters = {"weight": shape, "bias": (attributes.out_channels,)}
        if isinstance(attributes, Linear):
            shape = (attributes.out_features, attributes.in_features)
            parameters = {"weight": shape, "bias": (attributes.out_features,)}
        arrays = {k: random.standard_normal(s).astype(np.float32) for k, s in parameters.items()}
        name = f"{op}{i}"
        shape = OPERATORS[op].output_shape(attributes, [tensors[last].shape])
        tensors[name] = Tensor(name, shape)
        nodes.append(Node(name, op, (last,), name, attributes, arrays))
        last = name
    return Graph("net", tensors, tuple(nodes), ("x",), (last,))


def folded(*layers: tuple) -> Graph:
    """The folded graph, after a check that it computes the same function."""
    graph = chain(*layers)
    after = fuse(graph)
    images = np.random.default_rng(1).standard_normal((4, 1, 8, 8)).astype(np.float32)
    verify.same_function(graph, after, images)
    return after


def test_activation_pooling_and_flatten_leave_one_node_per_layer() -> None:
    graph = folded(
        ("conv2d", Conv2d(1, 3, (3, 3))),
        RELU,
        POOL,
        ("flatten", Flatten((27,))),
        ("linear", Linear(27, 5)),
    )
    assert [node.op for node in graph.nodes] == ["conv2d", "linear"]
    assert graph.nodes[0].attributes.pool == POOL[1]
    assert graph.nodes[0].clamp == Clamp(0.0, np.inf)


def test_pooling_before_the_activation_is_folded_to_the_same_node() -> None:
    conv = ("conv2d", Conv2d(1, 3, (3, 3)))
    assert folded(conv, POOL, RELU).nodes[0].clamp == folded(conv, RELU, POOL).nodes[0].clamp


def test_overlapping_or_padded_pooling_stays_a_separate_layer() -> None:
    conv = ("conv2d", Conv2d(1, 3, (3, 3)))
    for pool in (MaxPool2d((3, 3), (2, 2)), MaxPool2d((2, 2), (2, 2), (1, 1))):
        assert [n.op for n in folded(conv, ("max_pool2d", pool)).nodes] == ["conv2d", "max_pool2d"]


def test_a_second_pooling_is_not_folded_into_the_first() -> None:
    graph = folded(("conv2d", Conv2d(1, 2, (1, 1))), POOL, POOL)
    assert [node.op for node in graph.nodes] == ["conv2d", "max_pool2d"]


def test_clamps_after_each_other_become_one() -> None:
    graph = folded(("conv2d", Conv2d(1, 2, (1, 1))), RELU, ("clamp", Limits(-1.0, 1.0)))
    assert graph.nodes[0].clamp == Clamp(0.0, 1.0)


def test_an_activation_of_the_input_stays_a_layer() -> None:
    assert [node.op for node in folded(RELU, POOL).nodes] == ["clamp", "max_pool2d"]


def test_a_tensor_that_two_layers_read_is_not_folded_away() -> None:
    graph = chain(("conv2d", Conv2d(1, 2, (1, 1))), RELU)
    other = Node("pool", "max_pool2d", ("conv2d0",), "z", POOL[1], {})
    tensors = {**graph.tensors, "z": Tensor("z", (2, 4, 4))}
    branching = Graph("net", tensors, (*graph.nodes, other), ("x",), ("clamp1",))
    assert len(fuse(branching).nodes) == 3


def test_padding_before_a_flatten_stays_a_layer() -> None:
    graph = lowered(nn.Sequential(nn.ConstantPad1d(2, 0.0), nn.Flatten()), 3, 4)
    assert [node.op for node in fuse(graph).nodes] == ["pad", "flatten"]


def group_norms(count: int) -> Graph:
    """Blocks of GroupNorm, LeakyReLU and a one-dimensional convolution: nine nodes, six views."""
    block = (nn.GroupNorm(2, 4), nn.LeakyReLU(0.2), nn.Conv1d(4, 4, 3, padding=1))
    return lowered(trained(nn.Sequential(*block * count)), 4, 8)


def attempts(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often fusing a graph asks whether a rewrite applies."""
    asked = 0

    def counting(row: fusion.Rewrite) -> fusion.Rewrite:
        def match(producer: Node, consumer: Node) -> bool:
            nonlocal asked
            asked += 1
            return row.match(producer, consumer)

        return replace(row, match=match)

    with monkeypatch.context() as patch:
        patch.setattr(fusion, "REWRITES", tuple(map(counting, fusion.REWRITES)))
        fuse(graph)
    return asked


def test_fusion_takes_time_proportional_to_the_number_of_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few, many = group_norms(4), group_norms(16)
    assert len(many.nodes) == 4 * len(few.nodes)
    assert attempts(many, monkeypatch) <= 4 * attempts(few, monkeypatch)


def test_five_thousand_layers_need_a_few_attempts_each(monkeypatch: pytest.MonkeyPatch) -> None:
    block = (("conv2d", Conv2d(1, 1, (1, 1))), RELU, ("flatten", Flatten((1, 8, 8))), RELU)
    graph = chain(*block * 1250)
    assert attempts(graph, monkeypatch) <= 4 * len(graph.nodes)
    assert len(fuse(graph).nodes) == 1250


def test_views_and_group_norms_between_convolutions_are_removed() -> None:
    graph = group_norms(3)
    fused = fuse(graph)
    verify.shapes_follow(fused)
    inputs = np.random.default_rng(0).standard_normal((4, 4, 8)).astype(np.float32)
    verify.same_function(graph, fused, inputs)
    assert len(fused.nodes) < len(graph.nodes)
    assert all(node.op != "scale_shift" for node in fused.nodes)


@settings(max_examples=100)
@given(graphs(inputs=2, outputs=3, layers=12, stateful=True))
def test_no_rewrite_applies_to_a_fused_graph(graph: Graph) -> None:
    """Fusion visits only the nodes that a rewrite has changed, and still finds every rewrite."""
    assert applicable(fuse(graph)) is None


@settings(max_examples=60)
@given(graphs(inputs=2, outputs=3, layers=12, stateful=True))
def test_ranges_stay_with_their_values(graph: Graph) -> None:
    """If all ranges are stated, all are afterwards, and hold the values that are then there."""
    inputs = inputs_for(graph, seed=0)
    stated = replace(graph, ranges=observe_ranges(graph, inputs))
    fused = fuse(stated)
    assert fused.ranges.keys() == {*fused.inputs, *(node.output for node in fused.nodes)}
    for name, (low, high) in observe_ranges(fused, inputs).items():
        if all(node.op != "rearrange" for node in fused.consumers(name)):  # it may read a part
            tolerance = 1e-4 * (high - low)
            least, greatest = fused.ranges[name]
            assert least - tolerance <= low <= high <= greatest + tolerance, name


def test_a_range_before_a_scaling_is_removed_with_its_tensor() -> None:
    graph = lowered(trained(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))), 1, 8, 8)
    conv, norm = graph.nodes
    ranges = {conv.output: (-1.0, 1.0), norm.output: (-2.0, 2.0)}
    assert fuse(replace(graph, ranges=ranges)).ranges == {norm.output: (-2.0, 2.0)}
    assert fuse(replace(graph, ranges={conv.output: (-1.0, 1.0)})).ranges == {}


def test_the_first_of_two_ranges_around_a_view_stays() -> None:
    layers = (("linear", Linear(64, 4)), ("flatten", Flatten((2, 2))), ("linear", Linear(4, 3)))
    graph = chain(("flatten", Flatten((64,))), *layers)
    ranges = {"linear1": (-1.0, 1.0), "flatten2": (-2.0, 2.0)}
    assert fuse(replace(graph, ranges=ranges)).ranges == {"linear1": (-1.0, 1.0)}
    assert fuse(replace(graph, ranges={"flatten2": (-2.0, 2.0)})).ranges == {"linear1": (-2.0, 2.0)}


def applicable(graph: Graph) -> str | None:
    """The first rewrite that applies to a graph, found by looking at every pair."""
    for consumer in graph.nodes:
        for tensor in consumer.inputs:
            producer = graph.producer(tensor)
            alone = len(graph.consumers(tensor)) == 1 and tensor not in graph.outputs
            if producer is None or not alone:
                continue
            for row in fusion.REWRITES:
                if row.applies(producer, consumer):
                    return f"{row.name}: {producer.name}, {consumer.name}"
    return None
