"""A short training, so that weights are similar to those of a real network."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

BATCH = 32


def train(
    network: nn.Module, inputs: np.ndarray, targets: np.ndarray, *, steps: int, sparsity: float = 0
) -> nn.Module:
    """Trains the network in place and returns it.

    Args:
        inputs, targets: see `tasks.py`.
        sparsity: this share of each layer's weights, the smallest, is zero and stays zero.
    """
    masks = {weight: _mask(weight, sparsity) for weight in network.parameters() if weight.ndim > 1}
    loss_of = nn.CrossEntropyLoss() if targets.dtype == np.int64 else nn.MSELoss()
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    random = np.random.default_rng(0)
    network.train()
    for _ in range(steps):
        _apply(masks)
        batch = random.integers(0, len(inputs), BATCH)
        optimizer.zero_grad()
        answers = network(torch.from_numpy(inputs[batch]))
        loss_of(answers, torch.from_numpy(targets[batch])).backward()
        optimizer.step()
        schedule.step()
    _apply(masks)
    return network.eval()


def _mask(weight: torch.Tensor, sparsity: float) -> torch.Tensor:
    size = weight.detach().abs()
    return size > torch.quantile(size.flatten(), sparsity) if sparsity else size >= 0


@torch.no_grad()
def _apply(masks: dict[torch.Tensor, torch.Tensor]) -> None:
    for weight, mask in masks.items():
        weight *= mask
