"""Goal, recipe and outcome of a retraining.

A goal says what the compressed network must reach. A recipe is one set of hyperparameters of a
training that prunes and quantizes. An outcome is what the network of one recipe reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SizeMetric = Literal["parameter_bytes", "cycles"]


@dataclass(frozen=True)
class Goal:
    """What the compressed network must reach; None for every limit that is not set.

    Attributes:
        max_accuracy_drop: tolerated loss of validation accuracy in percentage points, of the int8
            network against the float network.
        parameter_budget: bytes of flash for weights, indices, biases, scales and tables.
        flash_budget: bytes of flash for these and for the code of the kernels that they need.
        sparsity: smallest share of weights that are zero.
        cycle_budget: estimated cycles of one inference on the target CPU.
        least: what is minimized if a loss is tolerated, and what takes precedence if both are
            limited.
    """

    max_accuracy_drop: float | None = None
    parameter_budget: int | None = None
    flash_budget: int | None = None
    sparsity: float | None = None
    cycle_budget: int | None = None
    least: SizeMetric = "parameter_bytes"

    @property
    def size(self) -> Literal["sparsity", "parameter_bytes", "cycles"]:
        """The size by which recipes differ: a field of `Recipe`."""
        if self.sparsity is not None:
            return "sparsity"
        in_bytes = self.parameter_budget is not None or self.flash_budget is not None
        limited = {"parameter_bytes": in_bytes, "cycles": self.cycle_budget is not None}
        if self.max_accuracy_drop is not None or limited[self.least]:
            return self.least
        return "parameter_bytes" if in_bytes else "cycles"

    @property
    def size_metric(self) -> SizeMetric:
        """The field of `Outcome` that measures the size: bytes for a sparsity."""
        return "cycles" if self.size == "cycles" else "parameter_bytes"

    @property
    def objective(self) -> Literal["accuracy", "parameter_bytes", "cycles"]:
        """The field of `Outcome` that the search optimizes: the size if a loss is tolerated."""
        return "accuracy" if self.max_accuracy_drop is None else self.least

    def violations(self, outcome: Outcome, *, baseline: float) -> dict[str, float]:
        """How far an outcome violates each limit that is set: 0 or less where it keeps it.

        The accuracy drop counts in tolerated drops, bytes and cycles by the logarithm of their
        ratio to the budget. The sparsity is not checked: every recipe asks for it.

        Args:
            baseline: accuracy of the float network, percent.
        """
        violations = {}
        if self.max_accuracy_drop is not None:
            over = baseline - outcome.accuracy - self.max_accuracy_drop
            # 99.2 - 99.0 is a little more than 0.2.
            violations["accuracy"] = (
                0.0 if 0 < over <= 1e-9 else (over / max(self.max_accuracy_drop, 0.1))
            )
        for budget, used, name in (
            (self.parameter_budget, outcome.parameter_bytes, "parameter_bytes"),
            (self.flash_budget, outcome.flash_bytes, "flash_bytes"),
            (self.cycle_budget, outcome.cycles, "cycles"),
        ):
            if budget is not None:
                violations[name] = math.log(max(used, 1) / budget)
        return violations

    def excess(self, outcome: Outcome, *, baseline: float) -> float:
        """Sum of the violated limits' `violations`; 0 if the outcome meets the goal."""
        violations = self.violations(outcome, baseline=baseline)
        return sum((max(0.0, value) for value in violations.values()), 0.0)


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of one training: with the graph and the data they decide its result.

    Attributes:
        parameter_bytes, cycles, sparsity: size at which pruning ends. All that are not None hold.
        score: saliency by which weights are ranked, one of `saliency.SCORES`.
        codebook_bits: each layer's weights share 2**bits values; 0 for no codebook.
        gradual: gradual magnitude pruning with distillation and quantization-aware training.
            False for one-shot pruning before the training, which then learns from labels only.
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
    """What a network reaches once it is compiled.

    Attributes:
        accuracy: of the int8 network on the validation samples, percent.
        parameter_bytes: flash of the encoded parameters.
        flash_bytes: flash of the encoded parameters and the kernels' code.
        cycles: of one inference, estimated.
        nonzeros: weights that are not zero.
    """

    accuracy: float
    parameter_bytes: int
    flash_bytes: int
    cycles: int
    nonzeros: int


@dataclass(frozen=True)
class Trial:
    """One training of a search, which is running or was interrupted."""

    number: int
    recipe: Recipe


@dataclass(frozen=True)
class FinishedTrial(Trial):
    """One training of a search that has ended.

    Attributes:
        stopped: it was ended early because it was worse than others; `outcome` is what it had
            reached by then.
    """

    outcome: Outcome
    stopped: bool = False


@dataclass(frozen=True)
class SearchRequest:
    """What is searched, and how.

    Attributes:
        baseline: accuracy of the float network, percent.
        sizes: smallest and largest parameter bytes, or cycles if `goal.size` is "cycles".
        base: the default recipe; its size is ignored. Its seed is the seed of the search.
        trials: number of trainings; those of earlier calls count.
        scores: saliency scores to choose from, besides the default one.
        method: "gradual" searches size and hyperparameters. "level" is the method of Dogan et al.
            (arXiv 2103.15972), a baseline: one-shot pruning of the same share of every layer, and
            a binary search for the highest sparsity within the tolerated loss.
        early_stop: rule by which unpromising trials end early: a key of `trial_store.EARLY_STOP`.
        measured_epochs: how often a training reports an outcome.
    """

    goal: Goal
    baseline: float
    sizes: tuple[int, int]
    base: Recipe
    trials: int
    scores: tuple[str, ...] = ("bytes", "taylor", "cycles", "lamp")
    method: Literal["gradual", "level"] = "gradual"
    early_stop: str = "none"
    measured_epochs: int = 1


@dataclass(frozen=True)
class StudyLocation:
    """Where a study is kept.

    Attributes:
        study: a folder, or the URL of a database that Optuna can open.
        fingerprint: identifies everything besides a recipe that decides outcomes.
        work: folder of the trials if the study is a database: the same for all machines.
    """

    study: Path | str
    fingerprint: str
    work: Path | None = None

    @property
    def folder(self) -> Path:
        """Of the trials."""
        if self.database is None:
            return Path(self.study)
        if self.work is None:
            raise ValueError("a study in a database needs a folder for its trials")
        return self.work

    @property
    def database(self) -> str | None:
        """The URL, if there is one."""
        return str(self.study) if "://" in str(self.study) else None
