"""Prunes a network while it is trained on, down to a size in bytes, cycles or weights, with int8
and shared weights in view.

    ramp      the size falls cubically to the target, the masks are chosen anew every few steps
    settle    the masks may still change; weights take values of a codebook, activations of int8
    freeze    the masks stay, the learning rate falls to nothing, the best epoch is kept

The gradual schedule is that of Zhu and Gupta (arXiv 1710.01878). Beside the labels the uncompressed
network teaches (Hinton et al., arXiv 1503.02531). Values are rounded on the way forward only
(Jacob et al., arXiv 1712.05877). What counts is measured on the int8 network, exactly as compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deepcompress.arith.qparams import LARGEST_WEIGHT, NARROW_SUM
from deepcompress.execute.float_torch import Parameters, forward, to_torch
from deepcompress.ir.graph import Graph
from deepcompress.passes.quantize import affine, observe_ranges
from deepcompress.training import weight_sharing
from deepcompress.training.budget import Budgets
from deepcompress.training.config import Outcome, Recipe
from deepcompress.training.latency_per_weight import Pace
from deepcompress.training.masks import (
    Masks,
    keep_fitting,
    layers_of,
    producers,
)
from deepcompress.training.saliency import loss_shares, score_weights

if TYPE_CHECKING:
    import torch

RAMP, FREEZE = 0.55, 0.8  # shares of the training at which the size is reached, the masks stay
WARM_UP = 0.1
# Steps between two choices of the masks, and of the codebooks; fewer in a short training.
MASKS_EVERY, CODEBOOKS_EVERY = 20, 50
_CHOICES = 200  # of a training at least, or as many as it has steps
SALIENCY_RATE = 0.01  # of the moving average
TEACHER_WEIGHT, TEMPERATURE = 0.7, 4.0
WEIGHT_DECAY = 1e-3
CHECKPOINT = "checkpoint.pt"
# What a checkpoint holds of a training, beside its optimizer's state.
_KEPT = (
    "parameters",
    "masks",
    "saliency",
    "codebooks",
    "budgets",
    "history",
    "best",
    "best_outcome",
)
_TRIMS = 8
# Weights of a channel beyond which narrow sums would leave each too few values.
_MOST_NARROW = 100


class Samples(Protocol):
    """What training needs of the data: see `samples.py`."""

    def epoch(
        self, index: int, *, seed: int, batch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]: ...


@dataclass(frozen=True)
class Epoch:
    """What a line of progress tells. `outcome` is None while the network still shrinks."""

    index: int
    nonzeros: int
    loss: float
    outcome: Outcome | None


@dataclass(frozen=True)
class Retrained:
    """The network of the best epoch, and what it reaches; `history` has every epoch."""

    graph: Graph
    outcome: Outcome
    history: tuple[Epoch, ...]


def retrain(
    graph: Graph,
    samples: Samples,
    recipe: Recipe,
    folder: Path,
    *,
    observed: np.ndarray,
    pace: Pace,
    assess: Callable[[Graph], Outcome],
    tell: Callable[[Epoch], None] = lambda epoch: None,
) -> Retrained:
    """The graph pruned and trained as the recipe says.

    A checkpoint is written to `folder` after every epoch: called again after a kill, it goes on
    and ends as if nothing had happened.

    Args:
        observed: float32 inputs on which the ranges of activations are measured.
        pace: what the graph's weights cost in cycles.
        assess: what a graph reaches once it is compiled.
        tell: is called after each epoch that is trained now.
    """
    training = _Training(graph, samples, recipe, observed, pace, assess)
    training.resume(folder / CHECKPOINT)
    while len(training.history) < recipe.epochs:
        tell(training.epoch())
        training.save(folder / CHECKPOINT)
    return Retrained(
        replace_parameters(graph, training.best), training.best_outcome, tuple(training.history)
    )


def replace_parameters(graph: Graph, parameters: dict[str, dict[str, torch.Tensor]]) -> Graph:
    """The graph with these weights and biases."""

    def array(tensor: torch.Tensor) -> np.ndarray:
        values = tensor.detach().numpy().copy()
        values.flags.writeable = False
        return values

    nodes = (
        replace(node, parameters={k: array(v) for k, v in parameters[node.name].items()})
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


class _Training:
    """The state of one training, whole epochs at a time. All of it goes into the checkpoint."""

    def __init__(
        self,
        graph: Graph,
        samples: Samples,
        recipe: Recipe,
        observed: np.ndarray,
        pace: Pace,
        assess: Callable[[Graph], Outcome],
    ) -> None:
        import torch

        self.graph, self.samples, self.recipe = graph, samples, recipe
        self.observed, self.pace, self.assess = observed, pace, assess
        self.inputs = producers(graph)
        convolutions = {node.name for node in graph.nodes if node.op == "conv2d"}
        self.narrow = convolutions if pace.narrow else set()
        self.teacher = to_torch(graph)
        self.parameters = to_torch(graph)
        self.weights = {name: self.parameters[name]["weight"] for name in self.inputs}
        trained = [tensor for node in self.parameters.values() for tensor in node.values()]
        for tensor in trained:
            tensor.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(trained, recipe.learning_rate, weight_decay=WEIGHT_DECAY)
        self.steps_an_epoch = sum(1 for _ in samples.epoch(0, seed=recipe.seed, batch=recipe.batch))
        self.masks: Masks = {name: torch.ones_like(w) for name, w in self.weights.items()}
        self.saliency = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.budgets = Budgets(graph, recipe, pace, self.masks)
        self.codebooks: dict[str, torch.Tensor] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        self.history: list[Epoch] = []
        self.best: dict[str, dict[str, torch.Tensor]] = {}
        self.best_outcome: Outcome | None = None

    def resume(self, path: Path) -> None:
        """Goes on from a checkpoint, if there is one."""
        import torch

        if not path.is_file():
            return
        state = torch.load(path, weights_only=False)
        with torch.no_grad():
            for name, tensors in state.pop("parameters").items():
                for key, value in tensors.items():
                    self.parameters[name][key].copy_(value)
        self.optimizer.load_state_dict(state.pop("optimizer"))
        vars(self).update(state)

    def save(self, path: Path) -> None:
        import torch

        state = {name: getattr(self, name) for name in _KEPT}
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        torch.save({**state, "optimizer": self.optimizer.state_dict()}, fresh)
        fresh.replace(path)

    def epoch(self) -> Epoch:
        index = len(self.history)
        first, total = index * self.steps_an_epoch, self.recipe.epochs * self.steps_an_epoch
        if self.recipe.gradual and (first / total >= RAMP or index + 1 == self.recipe.epochs):
            self.quantize()
        losses = []
        batches = self.samples.epoch(index, seed=self.recipe.seed, batch=self.recipe.batch)
        for step, (inputs, labels) in enumerate(batches, start=first):
            self.prepare(step, step / total)
            losses.append(self.step(inputs, labels, step / total))
        self.history.append(self.finish(index, (first + len(losses)) / total, losses))
        return self.history[-1]

    def quantize(self) -> None:
        """From now on values are rounded as they will be; ranges are those of this moment."""
        if self.recipe.codebook_bits and not self.codebooks:
            self.codebooks = {
                name: weight_sharing.fit(self.kept(name), self.recipe.codebook_bits)
                for name in self.weights
            }
        self.ranges = {}  # they are observed without rounding
        observed = replace_parameters(self.graph, self.effective())
        self.ranges = observe_ranges(observed, self.observed)

    def prepare(self, step: int, progress: float) -> None:
        """Masks and codebooks for this step."""
        if not self.recipe.gradual:
            if step == 0:
                self.masks = self.choose_masks(1.0)
            return
        often = max(1, self.recipe.epochs * self.steps_an_epoch // _CHOICES)
        if step % min(MASKS_EVERY, often) == 0 and progress < FREEZE:
            self.masks = self.choose_masks(progress)
        if step % min(CODEBOOKS_EVERY, often) == 0:
            self.codebooks = {
                name: weight_sharing.refit(self.kept(name), centroids)
                for name, centroids in self.codebooks.items()
            }

    def kept(self, name: str) -> torch.Tensor:
        """The weights of a layer that its mask leaves, flat."""
        return self.weights[name].detach()[self.masks[name] > 0]

    def choose_masks(self, progress: float) -> Masks:
        """Of the best weights, as many as the schedule allows at this progress.

        Once masks are frozen, they are the best of those that are left.
        """
        left = (1 - min(1.0, progress / RAMP)) ** 3
        layers = layers_of(self.masks, self.inputs, self.recipe.codebook_bits)
        bits = {n: layers[n].weight_bits(int(mask.sum())) for n, mask in self.masks.items()}
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        scores = score_weights(
            weights,
            score=self.recipe.score,
            saliency=self.saliency,
            bits=bits,
            cycles=self.pace.weights,
        )
        if progress >= FREEZE:
            scores = {n: score.where(self.masks[n] > 0, -1.0) for n, score in scores.items()}
        total = sum(score.numel() for score in scores.values())
        target = round((1 - (self.recipe.sparsity or 0.0)) * total)
        keep = round(target + (total - target) * left)
        masks = keep_fitting(
            scores, self.inputs, keep, fits=lambda masks: self.budgets.fit(masks, left)
        )
        # Where the best weights no longer lead from input to output, nothing would be left.
        return masks if all(mask.any() for mask in masks.values()) else self.masks

    def step(self, inputs: torch.Tensor, labels: torch.Tensor, progress: float) -> float:
        from torch.nn.functional import cross_entropy

        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * one_cycle(progress)
        effective = self.effective()
        for name in self.weights:
            effective[name]["weight"].retain_grad()
        scores = self.run(inputs, effective).flatten(1)
        loss = cross_entropy(scores, labels)
        if self.recipe.gradual:
            loss = (1 - TEACHER_WEIGHT) * loss + TEACHER_WEIGHT * self.taught(inputs, scores)
        self.optimizer.zero_grad()
        loss.backward()
        # Of a weight that is cut too: of what it would be, so that it can come back.
        gradients = {name: effective[name]["weight"].grad for name in self.weights}
        for name, share in loss_shares(self.weights, gradients).items():
            self.saliency[name].lerp_(share, SALIENCY_RATE)
        self.optimizer.step()
        return float(loss.detach())

    def taught(self, inputs: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Loss against the uncompressed network's answers."""
        import torch
        from torch.nn.functional import kl_div, log_softmax, softmax

        with torch.no_grad():
            teacher = forward(self.graph, inputs, parameters=self.teacher).flatten(1)
        soft, given = log_softmax(scores / TEMPERATURE, 1), softmax(teacher / TEMPERATURE, 1)
        return TEMPERATURE**2 * kl_div(soft, given, reduction="batchmean")

    def run(self, inputs: torch.Tensor, effective: Parameters) -> torch.Tensor:
        """The network's scores, its activations rounded once it is time."""
        return forward(self.graph, inputs, parameters=effective, observe=self.round_activation)

    def effective(self) -> dict[str, dict[str, torch.Tensor]]:
        """The parameters that the network runs with: masked, shared or rounded."""
        parameters = {name: dict(tensors) for name, tensors in self.parameters.items()}
        for name, mask in self.masks.items():
            weight = self.weights[name]
            if name in self.codebooks:
                weight = weight_sharing.share(weight, self.codebooks[name])
            elif self.ranges:
                weight = _round_weight(weight * mask, narrow=name in self.narrow)
            parameters[name]["weight"] = weight * mask
        return parameters

    def round_activation(self, name: str, value: torch.Tensor) -> torch.Tensor:
        import torch

        if name not in self.ranges or name in self.graph.inputs:
            return value
        by = affine(*self.ranges[name])
        return torch.fake_quantize_per_tensor_affine(value, by.scale, by.zero_point, -128, 127)

    def finish(self, index: int, progress: float, losses: list[float]) -> Epoch:
        """Measures the network once it has its size, and keeps it if it is the best so far."""
        nonzeros = sum(int(mask.sum()) for mask in self.masks.values())
        outcome = None
        if self.ranges or not self.recipe.gradual:
            outcome = self.measure(progress)
            if index + 1 == self.recipe.epochs:
                self.trim()
        return Epoch(index, nonzeros, float(np.mean(losses)), outcome)

    def measure(self, progress: float) -> Outcome:
        parameters = {
            name: {key: tensor.detach().clone() for key, tensor in tensors.items()}
            for name, tensors in self.effective().items()
        }
        outcome = self.assess(replace_parameters(self.graph, parameters))
        if self.best_outcome is None or self.rank(outcome) >= self.rank(self.best_outcome):
            self.best, self.best_outcome = parameters, outcome
        self.correct_size(outcome, progress)
        return outcome

    def trim(self) -> None:
        """Takes away what is still too much, where the training was too short to settle."""
        for _ in range(_TRIMS):
            if not self.rank(self.best_outcome)[0]:
                return
            self.measure(1.0)

    def rank(self, outcome: Outcome) -> tuple:
        """Within the budgets first, then by accuracy."""
        return (-self.budgets.excess(outcome), outcome.accuracy)

    def correct_size(self, outcome: Outcome, progress: float) -> None:
        """Learns from the real numbers; where masks are frozen, the excess still goes."""
        frozen = progress >= FREEZE
        self.budgets.learn(self.masks, outcome, only_excess=frozen)
        if frozen and self.budgets.excess(outcome):
            self.masks = self.choose_masks(progress)


def one_cycle(progress: float) -> float:
    """Share of the peak learning rate: up for `WARM_UP`, then down along a cosine."""
    if progress < WARM_UP:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / WARM_UP)) / 2
    return (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


def _round_weight(weight: torch.Tensor, *, narrow: bool) -> torch.Tensor:
    """int8 a channel, symmetric; coarser where sums of products shall fit int16."""
    import torch

    rows = weight.detach().flatten(1).abs()
    scale = rows.max(1).values / LARGEST_WEIGHT
    kept = (rows > 0).sum(1)
    if narrow and kept.max() <= _MOST_NARROW:
        # Rounding adds half a step to each weight at the most.
        scale = torch.maximum(scale, rows.sum(1) / (NARROW_SUM - kept / 2))
    scale = scale.clamp(min=1e-12)
    zeros = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)
