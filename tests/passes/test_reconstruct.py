"""The weights that pruning keeps are solved for on calibration inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.conv_transpose2d import ConvTranspose2d
from deepcompress.ops.recurrent import Recurrent
from deepcompress.passes.magnitude_prune import magnitude_prune, weighted_nodes
from deepcompress.passes.reconstruct import reconstruct
from small_networks import error, network, samples


def kept(graph: Graph, share: float) -> dict[str, int]:
    return {n.name: round(share * n.parameters["weight"].size) for n in weighted_nodes(graph)}


def nonzeros(graph: Graph) -> dict[str, int]:
    return {n.name: int(np.count_nonzero(n.parameters["weight"])) for n in weighted_nodes(graph)}


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_the_error_on_other_inputs_is_much_smaller_than_by_magnitude(share: float) -> None:
    graph, others = network(), samples(300, seed=9).inputs
    solved = reconstruct(graph, samples(), kept(graph, share))
    smallest = magnitude_prune(graph, sparsity=1 - share)
    assert error(solved, graph, others) < 0.4 * error(smallest, graph, others)
    assert nonzeros(solved) == kept(graph, share)


def test_layers_that_are_not_named_and_weights_that_were_zero_stay() -> None:
    graph = magnitude_prune(network(), sparsity={"fc": 0.5})
    zeros = graph.nodes[3].parameters["weight"] == 0
    solved = reconstruct(graph, samples(), {"fc": int((~zeros).sum()) // 2})
    for before, after in zip(graph.nodes[:3], solved.nodes[:3], strict=True):
        assert after is before
    assert not solved.nodes[3].parameters["weight"][zeros].any()


def test_a_network_that_loses_no_weights_stays_nearly_the_same() -> None:
    graph = network()
    solved = reconstruct(graph, samples(), kept(graph, 1.0))
    assert error(solved, graph, samples(seed=5).inputs) < 1e-4


def test_one_sample_is_enough() -> None:
    graph = network()
    solved = reconstruct(graph, samples(1), kept(graph, 0.5))
    assert nonzeros(solved) == kept(graph, 0.5)
    assert all(np.isfinite(n.parameters["weight"]).all() for n in solved.nodes)


def of_one_layer(op: str, attributes: object, weight: tuple[int, ...], shapes: list) -> Graph:
    random = np.random.default_rng(0)
    parameters = {
        "weight": (random.standard_normal(weight) / 3).astype(np.float32),
        "bias": random.standard_normal(weight[0]).astype(np.float32),
    }
    if op == "gru":
        parameters["hidden_bias"] = random.standard_normal(weight[0] // 3).astype(np.float32)
    node = Node("layer", op, ("x",), "y", attributes, parameters)
    tensors = {name: Tensor(name, shape) for name, shape in zip("xy", shapes, strict=True)}
    return Graph("net", tensors, (node,), ("x",), ("y",))


@pytest.mark.parametrize(
    "graph",
    [
        of_one_layer("conv_transpose2d", ConvTranspose2d(4, 6, (3, 3), (2, 2)), (6, 4, 3, 3),
                     [(4, 5, 5), (6, 11, 11)]),
        of_one_layer("lstm", Recurrent(6, 8, 10), (32, 14), [(10, 6), (10, 8)]),
        of_one_layer("gru", Recurrent(6, 8, 10), (24, 14), [(10, 6), (10, 8)]),
    ],
    ids=["transposed", "lstm", "gru"],
)  # fmt: skip
def test_transposed_and_recurrent_layers_are_solved_for(graph: Graph) -> None:
    random = np.random.default_rng(3)
    shape = graph.tensors["x"].shape
    mixing = random.standard_normal((shape[0], shape[0]))
    inputs = np.einsum("ij,nj...->ni...", mixing, random.standard_normal((200, *shape)))
    calibration = Calibration(inputs[:150].astype(np.float32))
    solved = reconstruct(graph, calibration, kept(graph, 0.5))
    smallest = magnitude_prune(graph, sparsity=0.5)
    others = inputs[150:].astype(np.float32)
    assert error(solved, graph, others) < 0.8 * error(smallest, graph, others)


def test_progress_names_each_layer() -> None:
    lines: list[str] = []
    graph = replace(network(), nodes=network().nodes)
    reconstruct(graph, samples(20), kept(graph, 0.5), lines.append)
    assert [line.split()[-1] for line in lines] == ["conv", "depthwise", "pointwise", "fc"]
