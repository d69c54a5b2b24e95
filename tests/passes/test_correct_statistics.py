"""Bias correction restores each channel's mean and standard deviation, if that helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.passes.correct_statistics import correct_statistics
from deepcompress.passes.magnitude_prune import magnitude_prune

RANDOM = np.random.default_rng(0)
POOL = MaxPool2d((2, 2), (2, 2))


def network(outputs: int = 10) -> Graph:
    """A convolution with pooling and ReLU, and a linear layer."""

    def parameters(*shape: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng(outputs)
        weight, bias = random.standard_normal(shape), random.standard_normal(shape[0])
        return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}

    shapes = {"x": (2, 8, 8), "a": (6, 3, 3), "y": (outputs,)}
    conv = Node("conv", "conv2d", ("x",), "a", Conv2d(2, 6, (3, 3), pool=POOL),
                parameters(6, 2, 3, 3), Clamp(0.0))  # fmt: skip
    fc = Node("fc", "linear", ("a",), "y", Linear(54, outputs), parameters(outputs, 54))
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    return Graph("net", tensors, (conv, fc), ("x",), ("y",))


def samples(count: int = 200) -> Calibration:
    return Calibration(RANDOM.standard_normal((count, 2, 8, 8)).astype(np.float32) + 1)


def test_the_mean_and_deviation_of_a_pruned_networks_outputs_are_restored() -> None:
    graph, calibration = network(), samples()
    pruned = magnitude_prune(graph, sparsity=0.8)
    wanted, without, found = (
        forward_numpy(g, calibration.inputs)
        for g in (graph, pruned, correct_statistics(pruned, graph, calibration))
    )
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(found.std(axis=0), wanted.std(axis=0), rtol=1e-3)
    assert np.square(found - wanted).mean() < 0.5 * np.square(without - wanted).mean()


def test_pruned_weights_stay_pruned() -> None:
    graph = network()
    pruned = magnitude_prune(graph, sparsity=0.8)
    for before, after in zip(
        pruned.nodes, correct_statistics(pruned, graph, samples()).nodes, strict=True
    ):
        zeros = before.parameters["weight"] == 0
        np.testing.assert_array_equal(after.parameters["weight"] == 0, zeros)


def test_a_channel_without_weights_becomes_its_mean() -> None:
    graph, calibration = network(outputs=1), samples()
    fc = graph.nodes[1]
    empty = {**fc.parameters, "weight": np.zeros_like(fc.parameters["weight"])}
    pruned = replace(graph, nodes=(graph.nodes[0], replace(fc, parameters=empty)))
    found = forward_numpy(correct_statistics(pruned, graph, calibration), calibration.inputs)
    np.testing.assert_allclose(found, forward_numpy(graph, calibration.inputs).mean(), rtol=1e-4)


def test_a_correction_that_changes_answers_is_not_kept() -> None:
    """Outputs of 0, 5 and slightly over 5: pruning shifts the first, which changes no answer."""
    weight = np.array([[1, 0.1], [0, 1], [0, 1]], np.float32)
    bias = np.array([0, 5, 5.001], np.float32)
    node = Node("fc", "linear", ("x",), "y", Linear(2, 3), {"weight": weight, "bias": bias})
    tensors = {"x": Tensor("x", (2,)), "y": Tensor("y", (3,))}
    graph = Graph("net", tensors, (node,), ("x",), ("y",))
    pruned = magnitude_prune(graph, sparsity={"fc": 4 / 6})
    calibration = Calibration(RANDOM.standard_normal((50, 2)).astype(np.float32))
    assert correct_statistics(pruned, graph, calibration) is pruned


def test_random_inputs_correct_nothing() -> None:
    graph = network()
    pruned = magnitude_prune(graph, sparsity=0.8)
    assert correct_statistics(pruned, graph, replace(samples(), synthetic=True)) is pruned
