"""Trains models/lenet5.pt so that it can be pruned afterwards without retraining.

Each step evaluates the network twice: with the smallest `CUT` of each layer's weights set to zero,
and with a smaller share set to zero, which is 0 half of the time. The loss is the sum of both. The
gradient ignores the pruning (straight-through), so that a weight that was pruned too early can
return. The pruned share grows during the first half of the training. The result is an ordinary
dense float network that loses little accuracy when its smallest weights are pruned.

Training the whole network and its parts is the sandwich rule of Yu and Huang (arXiv 1903.05134);
the gradient is that of Dynamic Model Pruning with Feedback, by Lin et al. (2006.07253).

    python train.py        # writes models/lenet5.pt in about seven minutes, reproducibly
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mnist
import numpy as np
import torch
from model import LeNet5, save
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

HERE = Path(__file__).parent
EPOCHS = 40
SEED = 1
BATCH = 128
LEARNING_RATE = 2e-3
CUT = 0.82  # share of each layer's weights that training learns to tolerate losing
SHIPPED_CUT = 0.8  # share that platformio.ini prunes: the best epoch is chosen with it and without
VALIDATION = 5_000
BLACK = -mnist.MEAN / mnist.STD


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)  # a fixed order of sums, so that the file is reproducible
    torch.use_deterministic_algorithms(True)
    try:
        folder = mnist.fetch(arguments.data)
    except (OSError, ValueError) as error:
        sys.exit(f"train.py: {error}")
    images, labels = tensors(*mnist.load(folder, "train"))
    held_out, used = split(len(images), arguments.seed)

    network = train(
        (images[used], labels[used]), (images[held_out], labels[held_out]), arguments.epochs
    )
    test = tensors(*mnist.load(folder, "t10k"))
    print(f"test set  {accuracy(network, test):.2f}%", end="")
    print(f", with {SHIPPED_CUT:.0%} cut {accuracy(network, test, cut=SHIPPED_CUT):.2f}%")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save(network, arguments.output)
    print(f"wrote {arguments.output}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains LeNet-5 on MNIST.")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "models/lenet5.pt")
    parser.add_argument("--data", type=Path, default=HERE / "data/mnist", help="MNIST's idx files")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=SEED)
    return parser.parse_args()


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Converts uint8 [n, 28, 28] and [n] to float32 [n, 1, 32, 32] and int64 [n]."""
    inputs = mnist.normalise(mnist.pad(images))
    return torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64))


def split(count: int, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Splits into validation and training images, and seeds all random numbers."""
    torch.manual_seed(seed)
    order = torch.randperm(count)
    return order[:VALIDATION], order[VALIDATION:]


def batches(part: str) -> Iterator[tuple[Tensor, Tensor]]:
    """The data of one epoch for `deepcompress prune`: `part` is "train" or "validation".

    The network was not trained on the images of "validation". Half of the training batches are
    augmented.
    """
    images, labels = _load(HERE / "data/mnist")
    with torch.random.fork_rng():
        held_out, used = split(len(images))
    if part == "validation":
        yield images[held_out], labels[held_out]
        return
    for batch in used[torch.randperm(len(used))].split(BATCH):
        chosen = images[batch]
        yield (augment(chosen) if torch.rand(()) < 0.5 else chosen), labels[batch]


@cache
def _load(folder: Path) -> tuple[Tensor, Tensor]:
    return tensors(*mnist.load(mnist.fetch(folder), "train"))


def train(
    training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], epochs: int
) -> nn.Module:
    """The network of the epoch with the best validation accuracy, dense and pruned together."""
    network = LeNet5()
    steps_an_epoch = len(training[0]) // BATCH
    steps = epochs * steps_an_epoch
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    best, best_score = network, -1.0
    start = time.monotonic()
    for epoch in range(epochs):
        batches = torch.randperm(len(training[0]))[: steps_an_epoch * BATCH].split(BATCH)
        for step, batch in enumerate(batches, start=epoch * steps_an_epoch):
            images, labels = augment(training[0][batch]), training[1][batch]
            most = share_cut(step / steps)
            some = most * max(0.0, 2 * torch.rand(()).item() - 1)
            optimizer.zero_grad()
            for share in (some, most):
                cross_entropy(cut_network(network, images, share), labels).backward()
            optimizer.step()
            schedule.step()
        scores = accuracy(network, validation), accuracy(network, validation, cut=SHIPPED_CUT)
        if sum(scores) > best_score:
            best, best_score = copy.deepcopy(network), sum(scores)
        left = (time.monotonic() - start) / (epoch + 1) * (epochs - epoch - 1)
        print(
            f"epoch {epoch + 1:2}/{epochs}  validation {scores[0]:.2f}%"
            f", with {SHIPPED_CUT:.0%} cut {scores[1]:.2f}%  {left / 60:4.1f} min left",
            flush=True,
        )
    return best


def share_cut(progress: float) -> float:
    """Share of weights to prune at `progress`, 0..1: the cubic ramp of Zhu, Gupta (1710.01878)."""
    return CUT * (1 - (1 - min(1.0, 2 * progress)) ** 3)


def cut_network(network: nn.Module, images: Tensor, share: float) -> Tensor:
    """The scores of the network without the smallest `share` of each layer's weights."""
    parameters = {
        name: without_smallest(value, share) if name.endswith("weight") else value
        for name, value in network.named_parameters()
    }
    return functional_call(network, parameters, images)


def without_smallest(weight: Tensor, share: float) -> Tensor:
    """The weight with its smallest `share` set to zero, with a straight-through gradient."""
    count = round(share * weight.numel())
    if count == 0:
        return weight
    magnitude = weight.detach().abs()
    smallest = magnitude <= magnitude.flatten().kthvalue(count).values
    return weight - weight.detach() * smallest


def augment(images: Tensor) -> Tensor:
    """Rotates, scales, shears and shifts each image slightly, at random."""

    def spread(by: float) -> Tensor:
        return (torch.rand(len(images)) * 2 - 1) * by

    turn, scale, slant = spread(math.radians(10)), 1 + spread(0.1), spread(0.1)
    cos, sin = scale * turn.cos(), scale * turn.sin()
    rows = [
        torch.stack([cos, slant - sin, spread(2 / 16)], dim=1),
        torch.stack([sin, cos, spread(2 / 16)], dim=1),
    ]
    grid = affine_grid(torch.stack(rows, dim=1), images.shape, align_corners=False)
    return grid_sample(images - BLACK, grid, align_corners=False) + BLACK


@torch.no_grad()
def accuracy(network: nn.Module, data: tuple[Tensor, Tensor], *, cut: float = 0.0) -> float:
    """Percentage of images that are classified correctly."""
    batches = zip(data[0].split(1000), data[1].split(1000), strict=True)
    right = sum(int((cut_network(network, x, cut).argmax(1) == y).sum()) for x, y in batches)
    return 100 * right / len(data[1])


if __name__ == "__main__":
    main()
