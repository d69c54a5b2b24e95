"""Saliency scores: the rankings of weights by which retraining prunes.

Scores are comparable between layers: the weights with the lowest scores of the whole network are
pruned first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SCORES = ("magnitude", "level", "lamp", "taylor", "bytes", "cycles")


def score_weights(
    weights: Mapping[str, torch.Tensor],
    *,
    score: str,
    saliency: Mapping[str, torch.Tensor],
    bits: Mapping[str, float],
    cycles: Mapping[str, float],
) -> dict[str, torch.Tensor]:
    """The score of every weight, by layer, in the shape of the weights.

    Args:
        score: "magnitude" is the weight's square (Han et al., arXiv 1506.02626). "level" is its
            rank within its layer, so that all layers lose the same share. "lamp" is its square
            over the sum of the squares of all weights of its layer that are not smaller (Lee et
            al., arXiv 2010.07611). "taylor" is its saliency. "bytes" and "cycles" are its saliency
            over the flash of a weight of its layer, position included, or over its cycles.
        saliency: mean over batches of `loss_shares`.
        bits: flash per weight, by layer.
        cycles: of one inference per weight, by layer.
    """
    if score == "magnitude":
        return {name: weight.square() for name, weight in weights.items()}
    if score in ("level", "lamp"):
        score_layer = {"level": _level, "lamp": _lamp}[score]
        return {name: score_layer(weight) for name, weight in weights.items()}
    cost = {"taylor": dict.fromkeys(weights, 1.0), "bytes": bits, "cycles": cycles}[score]
    return {name: saliency[name] / cost[name] for name in weights}


def loss_shares(
    weights: Mapping[str, torch.Tensor], gradients: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """First-order Taylor saliency, as a share of its sum over all weights.

    The saliency is the square of weight times gradient, an estimate of how much the loss changes
    without the weight (Molchanov et al., arXiv 1906.10771). Shares give every batch the same
    influence: right after a deep cut, loss and gradients are many times larger than usual.
    """
    changes = {name: (weights[name].detach() * gradients[name]).square() for name in weights}
    total = sum(float(change.sum()) for change in changes.values()) or 1.0
    return {name: change / total for name, change in changes.items()}


def _level(weight: torch.Tensor) -> torch.Tensor:
    """Share of the layer's weights that are smaller."""
    rank = weight.flatten().abs().argsort().argsort()
    return (rank / len(rank)).view_as(weight)


def _lamp(weight: torch.Tensor) -> torch.Tensor:
    import torch

    square = weight.flatten().square()
    ascending, order = square.sort()
    not_smaller = ascending.flip(0).cumsum(0).flip(0)
    score = torch.empty_like(square)
    score[order] = ascending / not_smaller.clamp(min=torch.finfo(square.dtype).tiny)
    return score.view_as(weight)
