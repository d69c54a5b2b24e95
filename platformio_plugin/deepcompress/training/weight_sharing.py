"""Weight sharing: each weight of a layer takes one value of the layer's codebook.

The codebook is fitted by k-means with linear initialization, and refitted during training (Han et
al., Deep Compression, arXiv 1510.00149, section 3). The forward pass uses centroids rounded to the
layer's int8 grid, so that quantization changes nothing afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.arith.qparams import LARGEST_WEIGHT

if TYPE_CHECKING:
    import torch

_ROUNDS = 30
_MIN_SCALE = 1e-12


def fit(weights: torch.Tensor, bits: int) -> torch.Tensor:
    """The codebook of a layer's non-zero weights, ascending, float [2**bits]."""
    import torch

    if len(weights) == 0:
        return torch.linspace(-1, 1, 2**bits)
    centroids = torch.linspace(float(weights.min()), float(weights.max()), 2**bits)
    for _ in range(_ROUNDS):
        centroids = refit(weights, centroids)
    return centroids


def refit(weights: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """One round of k-means. A centroid that no weight is nearest to is unchanged."""
    nearest = assign(weights, centroids)
    count = weights.new_zeros(len(centroids)).index_add_(0, nearest, weights.new_ones(len(weights)))
    total = weights.new_zeros(len(centroids)).index_add_(0, nearest, weights)
    return centroids.where(count == 0, total / count.clamp(min=1)).sort().values


def assign(weights: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Index of the nearest centroid to each weight, int64, same shape."""
    import torch

    return torch.bucketize(weights, (centroids[1:] + centroids[:-1]) / 2)


def on_grid(centroids: torch.Tensor) -> torch.Tensor:
    """The centroids rounded to int8 steps of the largest centroid; none becomes zero."""
    scale = (centroids.abs().max() / LARGEST_WEIGHT).clamp(min=_MIN_SCALE)
    steps = (centroids / scale).round()
    return scale * steps.where(steps != 0, 1 - 2.0 * (centroids < 0))


def share(weight: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Each weight replaced by the nearest centroid on the grid: a straight-through estimator."""
    shared = on_grid(centroids)[assign(weight.detach(), centroids)]
    return shared + (weight - weight.detach())  # in this order the sum is exactly `shared`
