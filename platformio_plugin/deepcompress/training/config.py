"""What a retraining is asked for, how it goes about it, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """What the compressed network must reach; None where nothing is asked.

    Attributes:
        max_accuracy_drop: points (percent) of validation accuracy that may be lost, of the int8
            network against the float one.
        parameter_budget: bytes of flash for weights, indices, biases, scales and tables.
        flash_budget: bytes of flash for these and the code of the kernels they need.
        sparsity: share of weights that are zero, at least.
        cycle_budget: modelled cycles of an inference on the target CPU.
        least: "parameter_bytes" or "cycles": what shall be least where a loss is tolerated, and
            what counts most where both are limited.
    """

    max_accuracy_drop: float | None = None
    parameter_budget: int | None = None
    flash_budget: int | None = None
    sparsity: float | None = None
    cycle_budget: int | None = None
    least: str = "parameter_bytes"

    @property
    def size(self) -> str:
        """In what trials differ in size: "sparsity", "parameter_bytes" or "cycles".

        It is a field of `Recipe`, and but for the sparsity one of `Outcome`.
        """
        if self.sparsity is not None:
            return "sparsity"
        in_bytes = self.parameter_budget is not None or self.flash_budget is not None
        limited = {"parameter_bytes": in_bytes, "cycles": self.cycle_budget is not None}
        if self.max_accuracy_drop is not None or limited[self.least]:
            return self.least
        return "parameter_bytes" if in_bytes else "cycles"

    def excess(self, outcome: Outcome, *, baseline: float) -> float:
        """How far an outcome is from the goal; 0 where it meets it.

        Losses count in tolerated losses, bytes and cycles by their ratio to the budget. That a
        recipe asks for the sparsity is left to whoever writes it.

        Args:
            baseline: accuracy of the float network, percent.
        """
        excess = 0.0
        if self.max_accuracy_drop is not None:
            over = baseline - outcome.accuracy - self.max_accuracy_drop
            if over > 1e-9:  # 99.2 - 99.0 is a little more than 0.2
                excess += over / max(self.max_accuracy_drop, 0.1)
        for budget, taken in (
            (self.parameter_budget, outcome.parameter_bytes),
            (self.flash_budget, outcome.flash_bytes),
            (self.cycle_budget, outcome.cycles),
        ):
            if budget is not None and taken > budget:
                excess += math.log(taken / budget)
        return excess


@dataclass(frozen=True)
class Recipe:
    """All that decides a retraining's result besides the graph and the data.

    Attributes:
        parameter_bytes, cycles, sparsity: where pruning ends: at the first network that is within
            all that are not None.
        score: how weights are ranked, a key of `scores.SCORES`.
        codebook_bits: each layer's weights share 2**bits values; 0 for none.
        gradual: False to prune in one go before the training, which then knows of labels only:
            no teacher, no rounding.
        epochs, batch, learning_rate, seed: of the training.
    """

    parameter_bytes: int | None = None
    cycles: int | None = None
    sparsity: float | None = None
    score: str = "bytes"
    codebook_bits: int = 4
    gradual: bool = True
    epochs: int = 20
    batch: int = 128
    learning_rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a retraining reached. Accuracies are of the int8 network on the validation samples, in
    percent; bytes are of the encoded network, cycles what its inference is estimated to take."""

    accuracy: float
    parameter_bytes: int
    flash_bytes: int
    cycles: int
    nonzeros: int
