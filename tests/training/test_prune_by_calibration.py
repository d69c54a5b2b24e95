"""Pruning by the option `sparsity`: with calibration data, the best of several candidates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from deepcompress.compile import Compiled, compile_model
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.graph import Graph
from deepcompress.options import Options
from deepcompress.passes.magnitude_prune import magnitude_prune, weighted_nodes
from deepcompress.training.prune_by_calibration import prune_once
from small_networks import error, network, samples
from torch import nn

OPTIONS = Options(sparsity=0.7, distill=0.0, prune="auto")


def sparsity(graph: Graph) -> dict[str, float]:
    return {n.name: float(np.mean(n.parameters["weight"] == 0)) for n in weighted_nodes(graph)}


def total(graph: Graph) -> float:
    weights = np.concatenate([n.parameters["weight"].ravel() for n in weighted_nodes(graph)])
    return float(np.mean(weights == 0))


def test_calibration_data_make_the_pruned_network_more_accurate() -> None:
    graph, others = network(), samples(200, seed=9).inputs
    found = prune_once(graph, samples(), OPTIONS)
    by_magnitude = magnitude_prune(graph, sparsity=0.7)
    assert error(found, graph, others) < 0.3 * error(by_magnitude, graph, others)


def test_a_number_is_the_share_of_all_weights_and_layers_that_matter_keep_more() -> None:
    found = prune_once(network(), samples(), OPTIONS)
    assert abs(total(found) - 0.7) < 0.01
    shares = sparsity(found)
    assert shares["depthwise"] < shares["fc"]


def test_numbers_by_layer_are_met() -> None:
    found = prune_once(network(), samples(), replace(OPTIONS, sparsity={"fc": 0.9}))
    shares = sparsity(found)
    assert abs(shares["fc"] - 0.9) < 0.01 and shares["conv"] == 0


def test_distillation_is_used_where_it_is_better() -> None:
    graph, others = network(), samples(200, seed=9).inputs
    lines: list[str] = []
    options = replace(OPTIONS, sparsity=0.85)
    solved = prune_once(graph, samples(), options)
    learned = prune_once(graph, samples(), replace(options, distill=0.05), lines.append)
    assert error(learned, graph, others) <= error(solved, graph, others)
    assert any("distilling" in line for line in lines)


def test_a_network_that_is_sparse_already_stays_as_it_is() -> None:
    graph = magnitude_prune(network(), sparsity=0.7, scope="global")
    found = prune_once(graph, samples(), OPTIONS)
    for one, other in zip(found.nodes, graph.nodes, strict=True):
        np.testing.assert_array_equal(one.parameters["weight"], other.parameters["weight"])


def test_the_option_compiles_a_network_with_that_many_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 36, 5)).eval()
    program = torch.export.export(net, (torch.zeros(1, 2, 8, 8),))
    torch.export.save(program, tmp_path / "net.pt2")
    np.savez(tmp_path / "data.npz", inputs=samples().inputs)
    by_magnitude = Options(sparsity=0.8, calibration=str(tmp_path / "data.npz"))

    def compiled(options: Options) -> Compiled:
        return compile_model(tmp_path / "net.pt2", name="net", options=options)

    one, other = compiled(by_magnitude), compiled(replace(by_magnitude, prune="auto"))
    weights = 12 * 2 * 9 + 12 * 36 * 5
    assert abs(other.report["parameters"]["nonzeros"] / weights - 0.2) < 0.02
    inputs = samples(200, seed=9).inputs
    original = net(torch.from_numpy(inputs)).detach().numpy()

    def loss(found: Compiled) -> float:
        return float(np.square(forward_numpy(found.graph, inputs) - original).mean())

    assert loss(other) < 0.5 * loss(one)
