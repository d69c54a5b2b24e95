"""What disappears into its neighbour, and what must not."""

from __future__ import annotations

import numpy as np
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.clamp import Limits
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.passes.fuse import fuse
from deepcompress.pipeline import verify

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
    """The folded graph, proven to compute what the graph did."""
    graph = chain(*layers)
    after = fuse(graph)
    images = np.random.default_rng(1).standard_normal((4, 1, 8, 8)).astype(np.float32)
    verify.same_function(graph, after, images)
    return after


def test_activation_pooling_and_flatten_leave_one_node_a_layer() -> None:
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


def test_pooling_before_the_activation_folds_to_the_same() -> None:
    conv = ("conv2d", Conv2d(1, 3, (3, 3)))
    assert folded(conv, POOL, RELU).nodes[0].clamp == folded(conv, RELU, POOL).nodes[0].clamp


def test_overlapping_or_padded_pooling_stays_a_layer_of_its_own() -> None:
    conv = ("conv2d", Conv2d(1, 3, (3, 3)))
    for pool in (MaxPool2d((3, 3), (2, 2)), MaxPool2d((2, 2), (2, 2), (1, 1))):
        assert [n.op for n in folded(conv, ("max_pool2d", pool)).nodes] == ["conv2d", "max_pool2d"]


def test_a_second_pooling_is_not_folded_into_the_first() -> None:
    graph = folded(("conv2d", Conv2d(1, 2, (1, 1))), POOL, POOL)
    assert [node.op for node in graph.nodes] == ["conv2d", "max_pool2d"]


def test_clamps_after_each_other_become_one() -> None:
    graph = folded(("conv2d", Conv2d(1, 2, (1, 1))), RELU, ("clamp", Limits(-1.0, 1.0)))
    assert graph.nodes[0].clamp == Clamp(0.0, 1.0)


def test_an_activation_on_the_input_itself_stays() -> None:
    assert [node.op for node in folded(RELU, POOL).nodes] == ["clamp", "max_pool2d"]


def test_a_tensor_that_two_layers_read_is_not_folded_away() -> None:
    graph = chain(("conv2d", Conv2d(1, 2, (1, 1))), RELU)
    other = Node("pool", "max_pool2d", ("conv2d0",), "z", POOL[1], {})
    tensors = {**graph.tensors, "z": Tensor("z", (2, 4, 4))}
    branching = Graph("net", tensors, (*graph.nodes, other), ("x",), ("clamp1",))
    assert len(fuse(branching).nodes) == 3
