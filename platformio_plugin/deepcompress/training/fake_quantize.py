"""Fake quantization with a straight-through estimator: float values that int8 can represent.

The forward pass rounds, the backward pass does not (Jacob et al., arXiv 1712.05877).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.arith.qparams import LARGEST_WEIGHT, NARROW_SUM, affine

if TYPE_CHECKING:
    import torch

# Non-zero weights per channel above which narrow sums would leave each weight too few values.
_MOST_NARROW = 100
_MIN_SCALE = 1e-12


def fake_quantize_weight(weight: torch.Tensor, *, narrow: bool) -> torch.Tensor:
    """The weight on its int8 grid, symmetric per output channel; same shape.

    Args:
        narrow: use a coarser grid where sums of products then fit int16.
    """
    import torch

    rows = weight.detach().flatten(1).abs()
    scale = rows.max(1).values / LARGEST_WEIGHT
    nonzeros = (rows > 0).sum(1)
    if narrow and nonzeros.max() <= _MOST_NARROW:
        # Rounding adds half a step to each weight at most.
        scale = torch.maximum(scale, rows.sum(1) / (NARROW_SUM - nonzeros / 2))
    scale = scale.clamp(min=_MIN_SCALE)
    zero_points = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(
        weight, scale, zero_points, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT
    )


def fake_quantize_activation(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """The activation on the int8 grid of its range, asymmetric per tensor; same shape."""
    import torch

    grid = affine(low, high)
    return torch.fake_quantize_per_tensor_affine(value, grid.scale, grid.zero_point, -128, 127)
