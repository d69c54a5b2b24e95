"""Optuna samplers that choose the recipe of the next trial. Importing this needs Optuna.

`RecipeSampler` chooses the hyperparameters by Thompson sampling from the posterior of
`size_model.py`, and the size that the posterior expects to be needed. A sampler depends only on the
study's trials and on the seed: it gives the same recipe if a trial is continued after a kill.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from deepcompress.training.config import FinishedTrial, Goal, Recipe, SearchRequest, Trial
from deepcompress.training.size_model import (
    CODEBOOK_BITS,
    LEARNING_RATES,
    allowed,
    first_size,
    largest_size,
    predict,
    size_of,
    size_range,
)
from deepcompress.training.trial_record import read_outcome, read_trials

if TYPE_CHECKING:
    import optuna

_DEFAULT_TRIALS = 3  # that vary only the size, before hyperparameters change
# Smallest relative steps: down from the smallest size that is enough, up from the largest that
# failed.
_STEP_DOWN, _STEP_UP = 0.95, 1.3
_STEP_BACK = 1.03  # up from the expected size, for each trial that failed below what is enough
_MAX_SEED = 2**31 - 1
# Optuna's key of a trial's constraints, which samplers and the dashboard read.
_CONSTRAINTS = "constraints"


class StudySampler(BaseSampler):
    """What both samplers share: trials as recipes, and the goal's limits as constraints."""

    def __init__(self, request: SearchRequest) -> None:
        self._request = request
        self._random = RandomSampler(request.base.seed)

    @property
    @abstractmethod
    def search_space(self) -> dict[str, BaseDistribution]:
        """Distributions of the recipe's fields that a trial sets, by name of the field."""

    @abstractmethod
    def recommend(self, before: Sequence[Trial], number: int) -> Recipe:
        """The recipe of a trial.

        Args:
            before: all trials with lower numbers that have not failed.
        """

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.search_space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        # From the storage, because Hyperband shows a sampler only the trials of its bracket.
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        before = [other for other in trials if other.number < trial.number]
        recipe = self.recommend(read_trials(before, self._request.base), trial.number)
        return {name: getattr(recipe, name) for name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, distribution: Any
    ) -> Any:
        """Of parameters that are not ours."""
        return self._random.sample_independent(study, trial, param_name, distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Stores how far the goal's limits are violated."""
        outcome = read_outcome(trial)
        if outcome is not None:
            request = self._request
            violations = request.goal.violations(outcome, baseline=request.baseline)
            study._storage.set_trial_system_attr(
                trial._trial_id, _CONSTRAINTS, list(violations.values())
            )


class RecipeSampler(StudySampler):
    """Bayesian linear regression with Thompson sampling."""

    @property
    def search_space(self) -> dict[str, BaseDistribution]:
        request = self._request
        base = request.base
        rates = [base.learning_rate * rate for rate in LEARNING_RATES]
        return {
            **_size_distributions(request),
            "score": CategoricalDistribution(sorted({base.score, *request.scores})),
            "codebook_bits": CategoricalDistribution(sorted({base.codebook_bits, *CODEBOOK_BITS})),
            "learning_rate": FloatDistribution(0.99 * rates[0], 1.01 * rates[-1], log=True),
            "seed": IntDistribution(0, _MAX_SEED),
        }

    def recommend(self, before: Sequence[Trial], number: int) -> Recipe:
        """Differs from all recipes before."""
        request = self._request
        finished = [trial for trial in before if isinstance(trial, FinishedTrial)]
        prediction = predict(request, finished)
        random = np.random.default_rng((request.base.seed, number))
        terms = random.multivariate_normal(prediction.mean, prediction.covariance)
        order = list(np.argsort(prediction.features @ terms))
        default_trials = _DEFAULT_TRIALS if request.goal.max_accuracy_drop is not None else 1
        if len(before) == len(finished) < default_trials:
            order.insert(0, 0)
        is_last = len(before) + 1 >= request.trials
        size = _next_size(request, finished, prediction.size, is_last=is_last)
        limits = _limits(request.goal, size, finished)
        recipes = (_limited(prediction.candidates[index], limits) for index in order)
        tried = {trial.recipe for trial in before}
        untried = (recipe for recipe in recipes if recipe not in tried)
        repeated = replace(request.base, seed=request.base.seed + number)
        return next(untried, _limited(repeated, limits))


class BisectionSampler(StudySampler):
    """Bisects the sparsity between trials within the tolerated loss and trials beyond it."""

    @property
    def search_space(self) -> dict[str, BaseDistribution]:
        return {"sparsity": FloatDistribution(self._request.goal.sparsity or 0.0, 1.0)}

    def recommend(self, before: Sequence[Trial], number: int) -> Recipe:
        """Takes a trial that is not finished to be within the tolerated loss."""
        goal, base = self._request.goal, self._request.base
        low, high = goal.sparsity or 0.0, 1.0
        if goal.sparsity is not None and not before:
            return replace(base, sparsity=low)
        tolerated = Goal(max_accuracy_drop=goal.max_accuracy_drop)
        for trial in before:
            sparsity = trial.recipe.sparsity or 0.0
            if isinstance(trial, FinishedTrial) and tolerated.excess(
                trial.outcome, baseline=self._request.baseline
            ):
                high = min(high, sparsity)
            else:
                low = max(low, sparsity)
        return replace(base, sparsity=(min(low, high) + high) / 2)


def _size_distributions(request: SearchRequest) -> dict[str, BaseDistribution]:
    goal = request.goal
    low, high = size_range(request)
    if goal.sparsity is not None:
        sizes: dict[str, BaseDistribution] = {"sparsity": FloatDistribution(goal.sparsity, 1.0)}
    else:
        sizes = {goal.size: IntDistribution(math.floor(low), math.ceil(high), log=True)}
    if goal.size == "cycles":
        budget = allowed(replace(goal, flash_budget=None), "parameter_bytes", ())
        budget = min(budget, goal.flash_budget or math.inf)
        if budget != math.inf:
            sizes["parameter_bytes"] = IntDistribution(1, int(budget))
    elif goal.cycle_budget is not None:
        sizes["cycles"] = IntDistribution(1, goal.cycle_budget)
    return sizes


def _next_size(
    request: SearchRequest, trials: Sequence[FinishedTrial], expected: float, *, is_last: bool
) -> float:
    goal = request.goal
    low, _ = size_range(request)
    largest = largest_size(request, trials)
    if goal.max_accuracy_drop is None:
        return largest
    if not trials:
        return first_size(request)
    sizes = [size_of(goal, trial.recipe, trial.outcome) for trial in trials]
    enough = [
        size
        for size, trial in zip(sizes, trials, strict=True)
        if not goal.excess(trial.outcome, baseline=request.baseline)
    ]
    if enough:
        misses = sum(size < min(enough) for size in sizes)
        expected = min(expected * _STEP_BACK**misses, _STEP_DOWN * min(enough))
    elif is_last:
        expected = largest
    else:
        expected = max(expected, _STEP_UP * max(sizes))
    return min(max(expected, low), largest)


# Sizes at which a training ends: parameter bytes, cycles and sparsity.
_Limits = tuple[int | None, int | None, float | None]


def _limits(goal: Goal, size: float, trials: Sequence[FinishedTrial]) -> _Limits:
    """The size that is searched, and the other budget, which a training keeps as well."""
    if goal.size == "cycles":
        budget = allowed(goal, "parameter_bytes", trials)
        return None if budget == math.inf else int(budget), int(size), None
    if goal.size == "parameter_bytes":
        return int(size), goal.cycle_budget, None
    return None, goal.cycle_budget, max(goal.sparsity or 0.0, round(1 - size, 4))


def _limited(recipe: Recipe, limits: _Limits) -> Recipe:
    parameter_bytes, cycles, sparsity = limits
    return replace(recipe, parameter_bytes=parameter_bytes, cycles=cycles, sparsity=sparsity)
