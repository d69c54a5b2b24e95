"""The schedule of a training: when it prunes, quantizes and freezes, and its learning rate.

    prune     sparsity rises along a cubic schedule; masks are recomputed every few steps
    quantize  masks may still change; weights take codebook values, activations are int8
    freeze    masks only lose weights, the learning rate falls to zero, the best epoch is kept

The cubic schedule is that of Zhu and Gupta (To prune, or not to prune, arXiv 1710.01878).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepcompress.training.config import Recipe

# Shares of the training at which the size is reached, and at which masks are frozen.
PRUNED, FROZEN = 0.55, 0.8
_WARM_UP = 0.1
_WARM_UP_START = 0.04  # of the peak learning rate
# Steps between two updates of the masks, and of the codebooks; fewer in a short training.
_MASK_INTERVAL, _CODEBOOK_INTERVAL = 20, 50
_MIN_UPDATES = 200  # per training, or one per step


@dataclass(frozen=True)
class Schedule:
    """The schedule of one recipe. Progress is the share of all steps that are done, 0 to 1."""

    recipe: Recipe
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        return self.recipe.epochs * self.steps_per_epoch

    def first_step(self, epoch: int) -> int:
        return epoch * self.steps_per_epoch

    def progress(self, step: int) -> float:
        return step / self.steps

    def is_last(self, epoch: int) -> bool:
        return epoch + 1 == self.recipe.epochs

    def quantizes(self, epoch: int) -> bool:
        """Whether weights and activations are fake-quantized in this epoch."""
        pruned = self.progress(self.first_step(epoch)) >= PRUNED
        return self.recipe.gradual and (pruned or self.is_last(epoch))

    def measures(self, epoch: int) -> bool:
        """Whether the network is compiled after this epoch."""
        return self.quantizes(epoch) or not self.recipe.gradual

    def updates_masks(self, step: int) -> bool:
        if not self.recipe.gradual:
            return step == 0
        return step % min(_MASK_INTERVAL, self._longest) == 0 and self.progress(step) < FROZEN

    def updates_codebooks(self, step: int) -> bool:
        return step % min(_CODEBOOK_INTERVAL, self._longest) == 0

    @property
    def _longest(self) -> int:
        """Steps between two updates at most."""
        return max(1, self.steps // _MIN_UPDATES)

    def learning_rate(self, progress: float) -> float:
        """One cycle: a warm-up, then a cosine to zero."""
        return self.recipe.learning_rate * one_cycle(progress)


def measured_epochs(recipe: Recipe) -> range:
    """The epochs after which the network is compiled."""
    schedule = Schedule(recipe, steps_per_epoch=1)
    return range(next(e for e in range(recipe.epochs) if schedule.measures(e)), recipe.epochs)


def remaining(progress: float) -> float:
    """The cubic schedule: the share of the way to the final sparsity that is left, 1 to 0."""
    return (1 - min(1.0, progress / PRUNED)) ** 3


def one_cycle(progress: float) -> float:
    """Share of the peak learning rate."""
    if progress < _WARM_UP:
        rise = (1 - math.cos(math.pi * progress / _WARM_UP)) / 2
        return _WARM_UP_START + (1 - _WARM_UP_START) * rise
    return (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))) / 2
