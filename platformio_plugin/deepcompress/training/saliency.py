"""How much each weight matters: the rankings by which retraining prunes.

Scores compare between layers: the lowest of the whole network go first.
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
        score: "magnitude": its square (Han et al., arXiv 1506.02626). "level": its rank within
            its layer, so that all layers lose the same share. "lamp": its square over the sum of
            the squares of all weights of its layer that are not smaller (Lee et al., arXiv
            2010.07611). "taylor": its saliency. "bytes" and "cycles": its saliency over what a
            weight of its layer takes in flash, its place included, or in time.
        saliency: mean over batches of `loss_shares`.
        bits: of flash a weight of each layer takes.
        cycles: of an inference a weight of each layer takes.
    """
    if score == "magnitude":
        return {name: weight.square() for name, weight in weights.items()}
    if score in ("level", "lamp"):
        within = {"level": _level, "lamp": _lamp}[score]
        return {name: within(weight) for name, weight in weights.items()}
    price = {"taylor": dict.fromkeys(weights, 1.0), "bytes": bits, "cycles": cycles}[score]
    return {name: saliency[name] / price[name] for name in weights}


def loss_shares(
    weights: Mapping[str, torch.Tensor], gradients: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """How much the loss would change without each weight (the square of weight times gradient,
    Molchanov et al., arXiv 1906.10771), as a share of the sum over all of them.

    As shares, so that a few batches of a network that was just cut too deep, whose loss and
    gradients are many times the usual, do not decide alone.
    """
    changes = {name: (weights[name].detach() * gradients[name]).square() for name in weights}
    whole = sum(float(change.sum()) for change in changes.values()) or 1.0
    return {name: change / whole for name, change in changes.items()}


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
