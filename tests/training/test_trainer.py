"""Pruning during training: rankings, masks, codebooks, and resuming after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.linear import Linear
from deepcompress.training import weight_sharing
from deepcompress.training.config import Outcome, Recipe
from deepcompress.training.latency_per_weight import LatencyModel
from deepcompress.training.masks import (
    Masks,
    estimate_bytes,
    estimate_cycles,
    keep_fitting,
    producers,
    rank_all,
    remove_unused,
)
from deepcompress.training.saliency import SCORES, loss_shares, score_weights
from deepcompress.training.state import Epoch
from deepcompress.training.trainer import Retrained, Task, retrain
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

FEATURES, HIDDEN, CLASSES = 8, 32, 3


def two_layers(seed: int = 0) -> Graph:
    """Linear 8 -> 32, ReLU, Linear 32 -> 3, trained a little on `Blobs`."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(5):
        for inputs, labels in Blobs().epoch(0, seed=0, batch=64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
    return graph_of(network[0], network[2])


def graph_of(first: torch.nn.Linear, second: torch.nn.Linear) -> Graph:
    def node(name: str, layer: torch.nn.Linear, source: str, target: str) -> Node:
        parameters = {k: p.detach().numpy().copy() for k, p in layer.named_parameters()}
        shape = Linear(layer.in_features, layer.out_features)
        return Node(name, "linear", (source,), target, shape, parameters)

    tensors = {n: Tensor(n, (s,)) for n, s in (("x", FEATURES), ("h", HIDDEN), ("y", CLASSES))}
    nodes = (node("first", first, "x", "h"), node("second", second, "h", "y"))
    return Graph("toy", tensors, nodes, ("x",), ("y",))


class Blobs:
    """Three clouds of points in eight dimensions."""

    def __init__(self, count: int = 512) -> None:
        random = np.random.default_rng(7)
        centres = random.standard_normal((CLASSES, FEATURES)) * 2
        self.labels = random.integers(0, CLASSES, count)
        noise = random.standard_normal((count, FEATURES))
        self.inputs = (centres[self.labels] + noise).astype(np.float32)

    def epoch(
        self, index: int, *, seed: int, batch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = np.random.default_rng((seed, index)).permutation(len(self.labels))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            yield torch.from_numpy(self.inputs[chosen]), torch.from_numpy(self.labels[chosen])


# The latency model of the training. Networks that `assess` compiles are a fifth slower.
LATENCY = LatencyModel({"first": 10.0, "second": 2.5}, {"first": 5.0, "second": 5.0}, constant=50.0)
SLOWER = 1.2


def assess(graph: Graph) -> Outcome:
    """One byte per weight and per channel, 20 per layer; accuracy of the float graph."""
    data = Blobs()
    right = forward_numpy(graph, data.inputs).argmax(1) == data.labels
    nonzeros = sum(int(np.count_nonzero(node.parameters["weight"])) for node in graph.nodes)
    channels = sum(int(node.parameters["weight"].any(1).sum()) for node in graph.nodes)
    size = nonzeros + channels + 20 * len(graph.nodes)
    cycles = round(SLOWER * estimate_cycles(masks_of(graph), LATENCY))
    return Outcome(100 * float(right.mean()), size, size, cycles, nonzeros)


def masks_of(graph: Graph) -> dict[str, torch.Tensor]:
    """1 where a weight is not zero."""
    return {n.name: torch.tensor(n.parameters["weight"] != 0).float() for n in graph.nodes}


def train(
    folder: Path,
    recipe: Recipe,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    progress: Callable[[str], None] = pytest.fail,
) -> Retrained:
    task = Task(two_layers(), Blobs(), Blobs().inputs, LATENCY, assess)
    return retrain(task, recipe, folder, on_epoch=on_epoch, progress=progress)


def test_a_budget_in_bytes_is_met_and_the_network_still_answers(tmp_path: Path) -> None:
    recipe = Recipe(parameter_bytes=130, codebook_bits=3, epochs=12, batch=64)
    retrained = train(tmp_path, recipe)
    assert retrained.outcome.parameter_bytes <= 130
    assert retrained.outcome.parameter_bytes > 100
    assert retrained.outcome.accuracy > 90
    assert retrained.outcome == assess(retrained.graph)


def test_a_budget_in_cycles_is_met_and_cuts_most_where_weights_are_slow(tmp_path: Path) -> None:
    recipe = Recipe(cycles=800, score="cycles", codebook_bits=0, epochs=12, batch=64)
    retrained = train(tmp_path / "cycles", recipe)
    assert 700 < retrained.outcome.cycles <= 800
    assert retrained.outcome.accuracy > 90
    by_bytes = replace(recipe, cycles=None, score="bytes", sparsity=0.85)
    other = train(tmp_path / "bytes", by_bytes)
    assert share_of_first(retrained.graph) < share_of_first(other.graph)


def share_of_first(graph: Graph) -> float:
    """The first layer's share of the remaining weights."""
    kept = [int(mask.sum()) for mask in masks_of(graph).values()]
    return kept[0] / sum(kept)


@pytest.mark.parametrize(("size", "cycles"), [(120, 5000), (1000, 800), (130, 800)])
def test_two_budgets_are_both_met(tmp_path: Path, size: int, cycles: int) -> None:
    recipe = Recipe(parameter_bytes=size, cycles=cycles, codebook_bits=3, epochs=12, batch=64)
    outcome = train(tmp_path, recipe).outcome
    assert outcome.parameter_bytes <= size
    assert outcome.cycles <= cycles
    assert outcome.parameter_bytes > 0.8 * size or outcome.cycles > 0.8 * cycles


def test_an_unreachable_budget_ends_with_the_nearest_result(tmp_path: Path) -> None:
    retrained = train(tmp_path, Recipe(cycles=10, score="cycles", epochs=6, batch=64))
    assert retrained.outcome.cycles > 10
    assert all(mask.any() for mask in masks_of(retrained.graph).values())


def test_a_sparsity_is_met(tmp_path: Path) -> None:
    retrained = train(tmp_path, Recipe(sparsity=0.8, codebook_bits=0, epochs=8, batch=64))
    total = FEATURES * HIDDEN + HIDDEN * CLASSES
    assert retrained.outcome.nonzeros <= 0.2 * total + 1


def test_one_shot_pruning_keeps_its_masks(tmp_path: Path) -> None:
    recipe = Recipe(sparsity=0.5, score="level", codebook_bits=0, gradual=False, epochs=3, batch=64)
    retrained = train(tmp_path, recipe)
    graph = two_layers()
    for before, after in zip(graph.nodes, retrained.graph.nodes, strict=True):
        weight = np.abs(before.parameters["weight"])
        kept = after.parameters["weight"] != 0
        assert weight[kept].min() >= np.median(weight)
    assert len({epoch.nonzeros for epoch in retrained.history}) == 1
    assert retrained.outcome.accuracy > 90


def test_weights_end_on_a_codebook_of_integers(tmp_path: Path) -> None:
    retrained = train(tmp_path, Recipe(sparsity=0.5, codebook_bits=2, epochs=4, batch=64))
    for node in retrained.graph.nodes:
        weight = node.parameters["weight"]
        steps = weight / np.abs(weight).max() * 127
        assert len(np.unique(weight[weight != 0])) <= 4
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


@pytest.mark.parametrize("killed_after", [1, 3, 5])
def test_a_killed_training_ends_like_an_undisturbed_one(tmp_path: Path, killed_after: int) -> None:
    recipe = Recipe(parameter_bytes=160, codebook_bits=3, epochs=6, batch=64)
    whole = train(tmp_path / "whole", recipe)

    def kill(epoch: Epoch) -> None:
        if epoch.index == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", recipe, on_epoch=kill)
    resumed = train(tmp_path / "killed", recipe)
    assert resumed.history == whole.history
    for one, other in zip(resumed.graph.nodes, whole.graph.nodes, strict=True):
        for key in one.parameters:
            np.testing.assert_array_equal(one.parameters[key], other.parameters[key])


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    recipe = Recipe(sparsity=0.5, epochs=2, batch=64)
    first = train(tmp_path, recipe)
    written = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    assert train(tmp_path, recipe).outcome == first.outcome
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == written


def score_of(
    weights: dict[str, torch.Tensor],
    score: str,
    bits: dict[str, float],
    cycles: dict[str, float] = LATENCY.per_weight,
) -> dict[str, torch.Tensor]:
    """Scores where all weights have the same gradient."""
    saliency = {name: weight.square() for name, weight in weights.items()}
    return score_weights(weights, score=score, saliency=saliency, bits=bits, cycles=cycles)


def test_a_batch_of_large_loss_has_no_more_influence_than_others() -> None:
    weights = {"first": torch.tensor([[1.0, -2.0]]), "second": torch.tensor([[3.0]])}
    gradients = {"first": torch.tensor([[0.5, 0.5]]), "second": torch.tensor([[-0.1]])}
    shares = loss_shares(weights, gradients)
    torch.testing.assert_close(shares["first"], torch.tensor([[0.25, 1.0]]) / 1.34)
    many = loss_shares(weights, {name: 1e3 * gradient for name, gradient in gradients.items()})
    for name, share in shares.items():
        torch.testing.assert_close(many[name], share)
    none = loss_shares(weights, {name: 0 * gradient for name, gradient in gradients.items()})
    assert not any(share.any() for share in none.values())


def test_lamp_divides_by_all_weights_that_are_not_smaller() -> None:
    weights = {"first": torch.tensor([[1.0, -2.0, 3.0]])}
    scores = score_of(weights, "lamp", {"first": 1.0})
    torch.testing.assert_close(scores["first"], torch.tensor([[1 / 14, 4 / 13, 1.0]]))


def test_a_level_score_gives_every_layer_the_same_share() -> None:
    graph = two_layers()
    weights = {node.name: torch.tensor(node.parameters["weight"]) for node in graph.nodes}
    scores = score_of(weights, "level", dict.fromkeys(weights, 1.0))
    masks = best(scores, 176)
    shares = [float(mask.mean()) for mask in masks.values()]
    assert shares == pytest.approx([0.5, 0.5], abs=0.02)


@pytest.mark.parametrize("score", SCORES)
def test_every_score_ranks_a_larger_weight_of_a_layer_higher(score: str) -> None:
    weights = {"first": torch.tensor([[0.1, -0.5, 0.3]]), "second": torch.tensor([[2.0, 1.0]])}
    bits = {"first": 9.0, "second": 5.0}
    scores = score_of(weights, score, bits)
    for name, weight in weights.items():
        assert scores[name].argsort().tolist() == weight.abs().argsort().tolist()


def test_a_layer_whose_weights_take_more_flash_loses_more_of_them() -> None:
    graph = two_layers()
    weights = {node.name: torch.tensor(node.parameters["weight"]) for node in graph.nodes}
    cheap = score_of(weights, "bytes", {"first": 5.0, "second": 5.0})
    dear = score_of(weights, "bytes", {"first": 10.0, "second": 5.0})
    assert best(dear, 100)["first"].sum() < best(cheap, 100)["first"].sum()


def best(scores: dict[str, torch.Tensor], keep: int) -> dict[str, torch.Tensor]:
    """Masks of the `keep` weights with the highest scores."""
    return {name: (rank < keep).float() for name, rank in rank_all(scores).items()}


masks_of_both = st.tuples(
    arrays(np.float32, (HIDDEN, FEATURES), elements=st.sampled_from([0.0, 0.0, 0.0, 1.0])),
    arrays(np.float32, (CLASSES, HIDDEN), elements=st.sampled_from([0.0, 0.0, 0.0, 1.0])),
)


@given(masks_of_both)
def test_no_weight_remains_on_a_channel_that_is_not_both_written_and_read(
    masks: tuple[np.ndarray, np.ndarray],
) -> None:
    graph = graph_of(torch.nn.Linear(FEATURES, HIDDEN), torch.nn.Linear(HIDDEN, CLASSES))
    given_masks = {"first": torch.tensor(masks[0]), "second": torch.tensor(masks[1])}
    left = remove_unused(given_masks, producers(graph))
    written, read = left["first"].any(1), left["second"].any(0)
    assert torch.equal(written, read)
    # Nothing else is lost: a weight stays if its channel is both written and read.
    useful = torch.tensor(masks[0]).any(1) & torch.tensor(masks[1]).any(0)
    assert torch.equal(left["first"], given_masks["first"] * useful[:, None])


@pytest.mark.parametrize("budget", [88.0, 125.0, 175.0])
def test_as_many_weights_are_kept_as_fit(budget: float) -> None:
    graph = two_layers()
    inputs = producers(graph)
    scores = {n.name: torch.tensor(n.parameters["weight"]).abs() for n in graph.nodes}

    def fits(masks: Masks) -> bool:
        return estimate_bytes(masks, inputs, 3) <= budget

    masks = keep_fitting(scores, inputs, 352, fits=fits)
    kept = int(sum(mask.sum() for mask in masks.values()))
    assert fits(masks)
    assert estimate_bytes(masks, inputs, 3) > 0.9 * budget
    assert not fits(remove_unused(best(scores, kept + 40), inputs))
    fewer = keep_fitting(scores, inputs, 20, fits=fits)
    assert sum(mask.sum() for mask in fewer.values()) <= 20


@given(
    arrays(np.float32, st.integers(0, 40), elements=st.floats(-4, 4, width=32)),
    st.integers(1, 6),
)
def test_a_codebook_has_few_integer_values_and_none_is_zero(values: np.ndarray, bits: int) -> None:
    weights = torch.from_numpy(values)
    centroids = weight_sharing.fit(weights, bits)
    shared = weight_sharing.share(weights, centroids)
    assert len(torch.unique(weight_sharing.on_grid(centroids))) <= 2**bits
    assert torch.isfinite(shared).all()
    if len(values) and np.abs(values).max() > 1e-3:
        assert (weight_sharing.on_grid(centroids) != 0).all()


def test_the_gradient_passes_the_codebook_unchanged() -> None:
    weight = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    (
        weight_sharing.share(weight, torch.tensor([-0.25, 0.25, 1.0])) * torch.tensor([1, 2, 3])
    ).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1, 2, 3]


def test_a_codebook_with_a_centroid_per_value_is_lossless_up_to_the_grid() -> None:
    weights = torch.tensor([-1.0, -0.5, 0.5, 1.0])
    shared = weight_sharing.share(weights, weight_sharing.fit(weights, 2))
    torch.testing.assert_close(shared, weights, atol=1 / 127, rtol=0)
