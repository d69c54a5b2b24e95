"""Magnitude pruning: which weights become zero, and how many."""

from __future__ import annotations

import numpy as np
import pytest
from deepcompress.errors import UserError
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.linear import Linear
from deepcompress.passes.magnitude_prune import magnitude_prune, weighted_nodes


def graph(**weights: list) -> Graph:
    nodes = tuple(
        Node(name, "linear", ("x",), name, Linear(4, 1), {"weight": np.array([w], np.float32)})
        for name, w in weights.items()
    )
    return Graph("net", {"x": Tensor("x", (4,))}, nodes, ("x",), ())


def zeros(pruned: Graph, name: str) -> list[int]:
    weights = {node.name: node.parameters["weight"] for node in weighted_nodes(pruned)}
    return np.flatnonzero(weights[name][0] == 0).tolist()


NET = graph(a=[1, -2, 3, -4], b=[0.1, 0.2, -0.3, 9])


def test_none_and_zero_prune_nothing() -> None:
    assert magnitude_prune(NET, sparsity=None) is NET
    assert zeros(magnitude_prune(NET, sparsity=0.0), "a") == []


def test_each_layer_loses_its_own_smallest_weights() -> None:
    pruned = magnitude_prune(NET, sparsity=0.5)
    assert (zeros(pruned, "a"), zeros(pruned, "b")) == ([0, 1], [0, 1])


def test_global_pruning_removes_the_smallest_weights_of_all_layers() -> None:
    pruned = magnitude_prune(NET, sparsity=0.5, scope="global")
    assert (zeros(pruned, "a"), zeros(pruned, "b")) == ([0], [0, 1, 2])


def test_only_named_layers_are_pruned() -> None:
    pruned = magnitude_prune(NET, sparsity={"b": 0.75})
    assert (zeros(pruned, "a"), zeros(pruned, "b")) == ([], [0, 1, 2])


def test_zeros_that_the_model_already_has_are_counted() -> None:
    pruned = magnitude_prune(graph(a=[0, 0, 3, 4]), sparsity=0.5)
    assert zeros(pruned, "a") == [0, 1]


def test_an_unknown_layer_is_reported_with_the_nearest_name() -> None:
    net = graph(conv1=[1, 2, 3, 4], fc1=[1, 2, 3, 4])
    with pytest.raises(UserError, match=r"no layer conv2 with weights \(did you mean conv1\?\)"):
        magnitude_prune(net, sparsity={"conv2": 0.5})
