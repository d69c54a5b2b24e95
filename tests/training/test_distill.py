"""A network learns from the original one, without labels, while it is pruned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from deepcompress.ir.graph import Graph
from deepcompress.passes.magnitude_prune import magnitude_prune, weighted_nodes
from deepcompress.training.distill import Target, allocate, distill
from small_networks import error, network, samples


def total(graph: Graph) -> int:
    return sum(int(np.count_nonzero(n.parameters["weight"])) for n in weighted_nodes(graph))


def test_it_ends_at_the_target_with_a_small_error_on_other_inputs() -> None:
    graph, others = network(), samples(300, seed=9).inputs
    keep = round(0.25 * total(graph))
    lines: list[str] = []
    found = distill(graph, samples(), Target(keep, {}), steps=150, progress=lines.append)
    assert total(found) == keep
    smallest = magnitude_prune(graph, sparsity=0.75, scope="global")
    assert error(found, graph, others) < 0.3 * error(smallest, graph, others)
    assert len(lines) == 10 and "75% of the weights pruned" in lines[-1]


def test_the_result_depends_on_the_seed_only() -> None:
    graph = network()

    def weights(seed: int) -> np.ndarray:
        found = distill(graph, samples(20), Target(800, {}), steps=25, seed=seed)
        return found.nodes[3].parameters["weight"]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()


def test_a_target_by_layer_leaves_other_layers_their_weights() -> None:
    graph = network()
    found = distill(graph, samples(20), Target(None, {"fc": 100}), steps=60)
    counts = {n.name: np.count_nonzero(n.parameters["weight"]) for n in found.nodes}
    assert counts["fc"] == 100 and counts["conv"] == graph.nodes[0].parameters["weight"].size


def test_layers_of_the_same_weights_keep_the_same_weights() -> None:
    graph = network()
    first = graph.nodes[2]
    again = replace(graph.nodes[2], name="again", inputs=("b",), output="d")
    tensors = {**graph.tensors, "d": replace(graph.tensors["c"], name="d")}
    tied = replace(graph, nodes=(*graph.nodes[:3], again, graph.nodes[3]), tensors=tensors)
    found = distill(tied, samples(20), Target(500, {}), steps=30)
    one, other = (n.parameters["weight"] for n in found.nodes if n.name in ("pointwise", "again"))
    np.testing.assert_array_equal(one, other)
    assert first.name == "pointwise"


def test_the_allocation_keeps_the_total_and_the_layers_that_matter() -> None:
    graph = network()
    keep = round(0.3 * total(graph))
    counts = allocate(graph, samples(), keep)
    assert sum(counts.values()) == keep
    shares = {n.name: counts[n.name] / n.parameters["weight"].size for n in weighted_nodes(graph)}
    assert shares["fc"] < shares["depthwise"]
