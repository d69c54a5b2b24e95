"""Shared weights: each layer's weights take one of a few values, its codebook.

k-means with linear initialisation, centroids that go on learning: Han et al., Deep Compression,
arXiv 1510.00149, section 3. Centroids lie on the layer's int8 grid, so that quantization loses
nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LARGEST = 127
_ROUNDS = 30
_FINEST = 1e-12


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
    """One round of k-means. A centroid that nothing is nearest to stays where it is."""
    nearest = assign(weights, centroids)
    count = weights.new_zeros(len(centroids)).index_add_(0, nearest, weights.new_ones(len(weights)))
    total = weights.new_zeros(len(centroids)).index_add_(0, nearest, weights)
    return centroids.where(count == 0, total / count.clamp(min=1)).sort().values


def assign(weights: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Index of the nearest centroid to each weight, int64, same shape."""
    import torch

    return torch.bucketize(weights, (centroids[1:] + centroids[:-1]) / 2)


def on_grid(centroids: torch.Tensor) -> torch.Tensor:
    """The centroids as multiples of the largest's 127th part; none becomes zero."""
    scale = (centroids.abs().max() / LARGEST).clamp(min=_FINEST)
    steps = (centroids / scale).round()
    return scale * steps.where(steps != 0, 1 - 2.0 * (centroids < 0))


def share(weight: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Each weight replaced by the nearest of the codebook; the gradient is passed straight on."""
    shared = on_grid(centroids)[assign(weight.detach(), centroids)]
    return shared + (weight - weight.detach())  # in this order the sum is exactly `shared`
