"""The state of a training between two epochs: what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcompress.execute.float_torch import to_torch
from deepcompress.ir.graph import Graph
from deepcompress.training.budget import Budgets, Corrections
from deepcompress.training.config import Outcome, Recipe

if TYPE_CHECKING:
    import torch

# Parameters by layer and by name within the layer.
LayerParameters = dict[str, dict[str, "torch.Tensor"]]

_WEIGHT_DECAY = 1e-3


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch.

    Attributes:
        index: from 0.
        nonzeros: weights that the masks keep.
        loss: mean of the steps' losses.
        outcome: None while the network is not quantized yet.
    """

    index: int
    nonzeros: int
    loss: float
    outcome: Outcome | None


@dataclass(frozen=True)
class BestNetwork:
    """Parameters and outcome of the best network that was measured so far."""

    parameters: LayerParameters
    outcome: Outcome


@dataclass
class TrainingState:
    """Everything that one epoch passes to the next.

    Attributes:
        parameters: the float parameters, which the optimizer updates in place.
        optimizer: with the moments of all parameters.
        masks: by layer with weights.
        saliency: moving average of `saliency.loss_shares`, by layer with weights.
        codebooks: centroids by layer with weights; empty until the training quantizes.
        corrections: of the budgets' estimates.
        history: all epochs so far.
        best: None until a network was measured.
    """

    parameters: LayerParameters
    optimizer: torch.optim.AdamW
    masks: dict[str, torch.Tensor]
    saliency: dict[str, torch.Tensor]
    corrections: Corrections
    codebooks: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)
    best: BestNetwork | None = None

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The float weights of all layers that have a mask."""
        return {name: self.parameters[name]["weight"] for name in self.masks}

    def kept(self, name: str) -> torch.Tensor:
        """The weights of a layer that its mask keeps, [nonzeros]."""
        return self.parameters[name]["weight"].detach()[self.masks[name] > 0]


def start(graph: Graph, recipe: Recipe, budgets: Budgets) -> TrainingState:
    """The state before the first epoch."""
    import torch

    parameters = {name: dict(tensors) for name, tensors in to_torch(graph).items()}
    trained = [tensor for tensors in parameters.values() for tensor in tensors.values()]
    for tensor in trained:
        tensor.requires_grad_(True)
    weights = {name: parameters[name]["weight"] for name in budgets.inputs}
    return TrainingState(
        parameters=parameters,
        optimizer=torch.optim.AdamW(trained, recipe.learning_rate, weight_decay=_WEIGHT_DECAY),
        masks={name: torch.ones_like(weight) for name, weight in weights.items()},
        saliency={name: torch.zeros_like(weight) for name, weight in weights.items()},
        corrections=budgets.start(),
    )
