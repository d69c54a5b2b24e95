"""Trains a network while it prunes and quantizes it, down to a size in bytes, cycles or weights.

`schedule.py` says what happens when. The loss is cross-entropy on the labels and distillation from
the uncompressed network (Hinton et al., arXiv 1503.02531). Weights and activations are rounded in
the forward pass only: a straight-through estimator. After an epoch the network is compiled, and
accuracy, bytes and cycles are those of the compiled int8 network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from deepcompress.execute.float_torch import Parameters, forward, to_torch
from deepcompress.ir.graph import Graph
from deepcompress.passes.quantize import observe_ranges
from deepcompress.training import state as training_state
from deepcompress.training import weight_sharing
from deepcompress.training.budget import Budgets
from deepcompress.training.checkpoint import (
    InvalidCheckpoint,
    restore_checkpoint,
    write_checkpoint,
)
from deepcompress.training.config import Outcome, Recipe
from deepcompress.training.fake_quantize import fake_quantize_activation, fake_quantize_weight
from deepcompress.training.latency_per_weight import LatencyModel
from deepcompress.training.masks import Masks, keep_fitting, layer_sizes
from deepcompress.training.saliency import loss_shares, score_weights
from deepcompress.training.schedule import FROZEN, Schedule, remaining
from deepcompress.training.state import BestNetwork, Epoch, LayerParameters, TrainingState

if TYPE_CHECKING:
    import torch

CHECKPOINT = "checkpoint.pt"
_SALIENCY_RATE = 0.01  # of the moving average
_DISTILLATION_WEIGHT, _TEMPERATURE = 0.7, 4.0
_MAX_TRIMS = 8

# Least and greatest value by tensor name; None while activations are not quantized.
Ranges = Mapping[str, tuple[float, float]]


class TrainingData(Protocol):
    """What training needs of the data: `data.training_data.Samples` without its validation."""

    def epoch(
        self, index: int, *, seed: int, batch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of inputs and labels; the same for the same index and seed."""


@dataclass(frozen=True)
class Task:
    """What is trained, and how it is measured: the same for all recipes.

    Attributes:
        observed: float32 inputs on which the ranges of activations are measured.
        latency: estimates the cycles of masks.
        assess: compiles a graph and measures it.
    """

    graph: Graph
    data: TrainingData
    observed: npt.NDArray[np.float32]
    latency: LatencyModel
    assess: Callable[[Graph], Outcome]


@dataclass(frozen=True)
class Retrained:
    """The network of the best epoch and its outcome; `history` has every epoch."""

    graph: Graph
    outcome: Outcome
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class _Setup:
    """A task with one recipe.

    Attributes:
        narrow: layers whose weights may take a coarser grid so that sums fit int16.
        teacher: the uncompressed network's parameters.
    """

    task: Task
    recipe: Recipe
    schedule: Schedule
    budgets: Budgets
    narrow: frozenset[str]
    teacher: Parameters


def retrain(
    task: Task,
    recipe: Recipe,
    folder: Path,
    *,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    progress: Callable[[str], None] = lambda line: None,
) -> Retrained:
    """The graph pruned and trained with a recipe.

    After every epoch a checkpoint is written to `folder`. A later call continues from it, with the
    same result as one call without interruption.

    Args:
        on_epoch: called after each epoch of this call, before its checkpoint is written.
        progress: takes a line if a checkpoint cannot be used and the training starts again.

    Raises:
        UserError: the checkpoint cannot be read from the disk.
    """
    setup = _set_up(task, recipe)
    path = folder / CHECKPOINT
    state = _resume(setup, path, progress)
    while len(state.history) < recipe.epochs:
        epoch = _train_epoch(setup, state)
        state.history.append(epoch)
        on_epoch(epoch)
        write_checkpoint(path, state, recipe)
    best = _best(state)
    return Retrained(
        replace_parameters(task.graph, best.parameters), best.outcome, tuple(state.history)
    )


def replace_parameters(graph: Graph, parameters: Parameters) -> Graph:
    """The graph with these weights and biases."""

    def array(tensor: torch.Tensor) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = tensor.detach().numpy().copy()
        values.flags.writeable = False
        return values

    nodes = (
        replace(node, parameters={k: array(v) for k, v in parameters[node.name].items()})
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def _set_up(task: Task, recipe: Recipe) -> _Setup:
    import torch

    graph = task.graph
    batches = task.data.epoch(0, seed=recipe.seed, batch=recipe.batch)
    weights = {n.name: n.parameters["weight"] for n in graph.nodes if "weight" in n.parameters}
    all_kept = {name: torch.ones(weight.shape) for name, weight in weights.items()}
    convolutions = (node.name for node in graph.nodes if node.op == "conv2d")
    return _Setup(
        task=task,
        recipe=recipe,
        schedule=Schedule(recipe, steps_per_epoch=sum(1 for _ in batches)),
        budgets=Budgets.of(graph, recipe, task.latency, all_kept),
        narrow=frozenset(convolutions if task.latency.narrow_sums else ()),
        teacher=to_torch(graph),
    )


def _resume(setup: _Setup, path: Path, progress: Callable[[str], None]) -> TrainingState:
    """The state of the checkpoint, or the one before the first epoch."""
    state = training_state.start(setup.task.graph, setup.recipe, setup.budgets)
    try:
        restore_checkpoint(path, state, setup.recipe)
    except InvalidCheckpoint as error:
        progress(
            f"checkpoint {path} cannot be used: {error}; this training starts again at epoch 1"
        )
    return state


def _best(state: TrainingState) -> BestNetwork:
    assert state.best is not None, "the last epoch is always measured"
    return state.best


def _train_epoch(setup: _Setup, state: TrainingState) -> Epoch:
    schedule, recipe = setup.schedule, setup.recipe
    index = len(state.history)
    step = schedule.first_step(index)
    ranges = _start_quantizing(setup, state) if schedule.quantizes(index) else None
    losses = []
    for inputs, labels in setup.task.data.epoch(index, seed=recipe.seed, batch=recipe.batch):
        _update_masks_and_codebooks(setup, state, step)
        losses.append(_train_step(setup, state, ranges, inputs, labels, step))
        step += 1
    nonzeros = sum(int(mask.sum()) for mask in state.masks.values())
    outcome = None
    if schedule.measures(index):
        outcome = _measure(setup, state, ranges, schedule.progress(step))
        if schedule.is_last(index):
            _trim(setup, state, ranges)
    return Epoch(index, nonzeros, float(np.mean(losses)), outcome)


def _start_quantizing(setup: _Setup, state: TrainingState) -> Ranges:
    """The ranges of activations at the start of an epoch; makes the codebooks in the first one."""
    if setup.recipe.codebook_bits and not state.codebooks:
        state.codebooks = {
            name: weight_sharing.fit(state.kept(name), setup.recipe.codebook_bits)
            for name in state.masks
        }
    graph = replace_parameters(setup.task.graph, _effective(setup, state, quantized=False))
    return observe_ranges(graph, setup.task.observed)


def _update_masks_and_codebooks(setup: _Setup, state: TrainingState, step: int) -> None:
    schedule = setup.schedule
    if schedule.updates_masks(step):
        progress = schedule.progress(step) if setup.recipe.gradual else 1.0
        state.masks = _choose_masks(setup, state, progress)
    if schedule.updates_codebooks(step):
        state.codebooks = {
            name: weight_sharing.refit(state.kept(name), centroids)
            for name, centroids in state.codebooks.items()
        }


def _choose_masks(setup: _Setup, state: TrainingState, progress: float) -> dict[str, torch.Tensor]:
    """Masks of the best weights, as many as the schedule allows at this progress.

    Once masks are frozen, only weights that they keep are candidates.
    """
    recipe, budgets = setup.recipe, setup.budgets
    scores = _scores(setup, state)
    if progress >= FROZEN:
        scores = {n: score.where(state.masks[n] > 0, -1.0) for n, score in scores.items()}
    left = remaining(progress)
    total = sum(score.numel() for score in scores.values())
    target = round((1 - (recipe.sparsity or 0.0)) * total)

    def fits(masks: Masks) -> bool:
        return budgets.fit(masks, state.corrections, left)

    most = round(target + (total - target) * left)
    masks = keep_fitting(scores, budgets.inputs, most, fits=fits)
    # If the best weights form no path from input to output, `remove_unused` leaves none.
    return masks if all(mask.any() for mask in masks.values()) else state.masks


def _scores(setup: _Setup, state: TrainingState) -> dict[str, torch.Tensor]:
    layers = layer_sizes(state.masks, setup.budgets.inputs, setup.recipe.codebook_bits)
    return score_weights(
        {name: weight.detach() for name, weight in state.weights.items()},
        score=setup.recipe.score,
        saliency=state.saliency,
        bits={n: layers[n].weight_bits(int(mask.sum())) for n, mask in state.masks.items()},
        cycles=setup.task.latency.per_weight,
    )


def _train_step(
    setup: _Setup,
    state: TrainingState,
    ranges: Ranges | None,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    step: int,
) -> float:
    """One update of the parameters and of the saliency. Returns the loss."""
    import torch

    optimizer = state.optimizer
    for group in optimizer.param_groups:
        group["lr"] = setup.schedule.learning_rate(setup.schedule.progress(step))
    effective = _effective(setup, state, quantized=ranges is not None)
    weights = {name: effective[name]["weight"] for name in state.masks}
    for weight in weights.values():
        weight.retain_grad()
    scores = _forward(setup, effective, ranges, inputs)
    loss = torch.nn.functional.cross_entropy(scores, labels)
    if setup.recipe.gradual:
        distillation = _distillation_loss(setup, inputs, scores)
        loss = (1 - _DISTILLATION_WEIGHT) * loss + _DISTILLATION_WEIGHT * distillation
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    # Pruned weights have a gradient too: that of the product, so that they can come back.
    gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
    for name, share in loss_shares(state.weights, gradients).items():
        state.saliency[name].lerp_(share, _SALIENCY_RATE)
    optimizer.step()
    return float(loss.detach())


def _forward(
    setup: _Setup, effective: Parameters, ranges: Ranges | None, inputs: torch.Tensor
) -> torch.Tensor:
    """The network's logits, [batch, classes]; activations with a range are fake-quantized."""
    graph = setup.task.graph

    def observe(name: str, value: torch.Tensor) -> torch.Tensor:
        if ranges is None or name not in ranges or name in graph.inputs:
            return value
        return fake_quantize_activation(value, *ranges[name])

    return forward(graph, inputs, parameters=effective, observe=observe).flatten(1)


def _distillation_loss(setup: _Setup, inputs: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence from the uncompressed network's softened outputs."""
    import torch
    from torch.nn.functional import kl_div, log_softmax, softmax

    with torch.no_grad():
        teacher = forward(setup.task.graph, inputs, parameters=setup.teacher).flatten(1)
    student, target = log_softmax(scores / _TEMPERATURE, 1), softmax(teacher / _TEMPERATURE, 1)
    return _TEMPERATURE**2 * kl_div(student, target, reduction="batchmean")


def _effective(setup: _Setup, state: TrainingState, *, quantized: bool) -> LayerParameters:
    """The parameters of the forward pass: masked, and with shared or rounded weights."""
    parameters = {name: dict(tensors) for name, tensors in state.parameters.items()}
    for name, mask in state.masks.items():
        weight = parameters[name]["weight"]
        if name in state.codebooks:
            weight = weight_sharing.share(weight, state.codebooks[name])
        elif quantized:
            weight = fake_quantize_weight(weight * mask, narrow=name in setup.narrow)
        parameters[name]["weight"] = weight * mask
    return parameters


def _measure(
    setup: _Setup, state: TrainingState, ranges: Ranges | None, progress: float
) -> Outcome:
    """Compiles the network, keeps it if it is the best, and corrects the budgets' estimates."""
    parameters = {
        name: {key: tensor.detach().clone() for key, tensor in tensors.items()}
        for name, tensors in _effective(setup, state, quantized=ranges is not None).items()
    }
    outcome = setup.task.assess(replace_parameters(setup.task.graph, parameters))
    if state.best is None or _rank(setup, outcome) >= _rank(setup, state.best.outcome):
        state.best = BestNetwork(parameters, outcome)
    frozen = progress >= FROZEN
    state.corrections = setup.budgets.corrected(
        state.corrections, state.masks, outcome, only_excess=frozen
    )
    if frozen and setup.budgets.excess(outcome):
        state.masks = _choose_masks(setup, state, progress)
    return outcome


def _rank(setup: _Setup, outcome: Outcome) -> tuple[float, float]:
    """Within the budgets first, then by accuracy."""
    return (-setup.budgets.excess(outcome), outcome.accuracy)


def _trim(setup: _Setup, state: TrainingState, ranges: Ranges | None) -> None:
    """Prunes what still exceeds the budgets after a training too short to reach them."""
    for _ in range(_MAX_TRIMS):
        if not setup.budgets.excess(_best(state).outcome):
            return
        _measure(setup, state, ranges, 1.0)
