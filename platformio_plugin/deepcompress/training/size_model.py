"""Predicts the size that a recipe needs to lose just the tolerated accuracy.

The loss of accuracy grows about with the square of the compression, so each finished trial gives an
estimate of that size. Its logarithm is modelled as the sum of a constant for the default recipe and
of one term per changed hyperparameter: Bayesian linear regression (Bishop, Pattern Recognition and
Machine Learning, section 3.3), whose covariance says how certain each term is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepcompress.training.config import FinishedTrial, Goal, Outcome, Recipe, SearchRequest

Floats = npt.NDArray[np.float64]

CODEBOOK_BITS = (3, 4, 5)
LEARNING_RATES = (1 / 3, 3**-0.5, 1, 3**0.5, 3)  # times the default
KERNEL_BYTES = 4096  # flash of the kernels' code, until a trial has measured it

_EXPONENT = 2.0  # of the loss over the compression
# Prior standard deviations: of the constant, and of one hyperparameter's term.
_PRIOR, _PRIOR_TERM = 3.0, 0.2
# Standard deviation of a trial's estimate, and what extrapolation adds to it.
_NOISE, _EXTRAPOLATION_NOISE = 0.1, 0.25
# Losses outside of this range say no more: in points, and in tolerated losses.
_MIN_LOSS, _MAX_LOSS = 0.03, 4.0


@dataclass(frozen=True)
class Prediction:
    """The posterior of the regression.

    Attributes:
        candidates: all combinations of hyperparameters, the default first.
        features: of the candidates, [candidates, terms].
        mean, covariance: of the terms.
    """

    candidates: list[Recipe]
    features: Floats
    mean: Floats
    covariance: Floats

    @property
    def size(self) -> float:
        """Expected size of the best candidate, as `size_of` measures it."""
        return math.exp(np.min(self.features @ self.mean))


def predict(request: SearchRequest, trials: Sequence[FinishedTrial]) -> Prediction:
    """The posterior after these trials."""
    candidates = _candidates(request)
    features = np.array([_features(request, recipe) for recipe in candidates])
    spread = np.array([_PRIOR] + [_PRIOR_TERM] * (features.shape[1] - 1))
    prior = np.zeros(len(spread))
    prior[0] = math.log(first_size(request))
    distance = np.array([_extrapolation(request, trial.outcome) for trial in trials])
    sizes = [size_of(request.goal, trial.recipe, trial.outcome) for trial in trials]
    observed = np.array([math.log(size) for size in sizes]) + distance
    weight = 1 / np.hypot(_NOISE, _EXTRAPOLATION_NOISE * distance)
    inputs = np.array([_features(request, trial.recipe) for trial in trials])
    inputs = inputs.reshape(-1, len(spread)) * weight[:, None]
    covariance = np.linalg.inv(inputs.T @ inputs + np.diag(spread**-2))
    mean = covariance @ (inputs.T @ (observed * weight) + prior / spread**2)
    return Prediction(candidates, features, mean, covariance)


def needed_size(request: SearchRequest, recipe: Recipe, outcome: Outcome) -> float:
    """The size that a recipe needs for the tolerated loss, estimated from one outcome."""
    size = size_of(request.goal, recipe, outcome)
    return size * math.exp(_extrapolation(request, outcome))


def size_of(goal: Goal, recipe: Recipe, outcome: Outcome) -> float:
    """Bytes or cycles, or for a sparsity the share of the weights that is not zero.

    Where another budget stopped pruning later, that is less than the recipe's size.
    """
    if goal.size == "sparsity":
        return 1 - (recipe.sparsity or 0.0)
    size: float = getattr(outcome, goal.size)
    limit: float | None = getattr(recipe, goal.size)
    return size if limit is None else min(limit, size)


def allowed(goal: Goal, metric: str, trials: Sequence[FinishedTrial]) -> float:
    """Parameter bytes or cycles within the budgets; infinite without a budget."""
    if metric == "cycles":
        return math.inf if goal.cycle_budget is None else goal.cycle_budget
    budget = math.inf if goal.parameter_budget is None else goal.parameter_budget
    if goal.flash_budget is None:
        return budget
    kernels = [t.outcome.flash_bytes - t.outcome.parameter_bytes for t in trials]
    return max(1, min(budget, goal.flash_budget - max(kernels, default=KERNEL_BYTES)))


def size_range(request: SearchRequest) -> tuple[float, float]:
    """Smallest and largest size, as `size_of` measures it."""
    low, high = request.sizes
    if request.goal.sparsity is None:
        return low, high
    density = 1 - request.goal.sparsity
    return density * low / high, density


def first_size(request: SearchRequest) -> float:
    """Size of the first trial: the sparsity or the budget of the goal, else a middle size."""
    largest = largest_size(request, ())
    if request.goal.max_accuracy_drop is None or request.goal.sparsity is not None:
        return largest
    return min(largest, math.sqrt(math.prod(size_range(request))))


def largest_size(request: SearchRequest, trials: Sequence[FinishedTrial]) -> float:
    """Largest size within range and budgets, as far as the trials show what a size becomes."""
    goal = request.goal
    low, high = size_range(request)
    budget = allowed(goal, goal.size_metric, trials)
    if budget == math.inf:
        return high
    if not trials:
        return high if goal.size == "sparsity" else max(low, min(high, budget))
    used = [getattr(trial.outcome, goal.size_metric) for trial in trials]
    nearest = min(range(len(trials)), key=lambda i: abs(math.log(used[i] / budget)))
    trial = trials[nearest]
    size: float = budget * size_of(goal, trial.recipe, trial.outcome) / used[nearest]
    # A training keeps to the bytes or cycles of its recipe. The bytes of a sparsity may vary.
    size = 0.98 * size if goal.size == "sparsity" else min(size, budget)
    return max(low, min(high, size))


def _extrapolation(request: SearchRequest, outcome: Outcome) -> float:
    """Logarithm of the size that an outcome's recipe needs over the size that it had."""
    tolerated = request.goal.max_accuracy_drop
    tolerated = max(0.5 if tolerated is None else tolerated, 0.05)
    loss = max(request.baseline - outcome.accuracy, _MIN_LOSS) / tolerated
    return math.log(min(loss, _MAX_LOSS)) / _EXPONENT


def _candidates(request: SearchRequest) -> list[Recipe]:
    base = request.base
    scores = dict.fromkeys((base.score, *request.scores))
    bits = dict.fromkeys((base.codebook_bits, *CODEBOOK_BITS))
    rates = sorted(LEARNING_RATES, key=lambda rate: abs(math.log(rate)))
    return [
        replace(
            base, score=s, codebook_bits=b, learning_rate=float(f"{base.learning_rate * r:.3g}")
        )
        for s in scores
        for b in bits
        for r in rates
    ]


def _features(request: SearchRequest, recipe: Recipe) -> list[float]:
    """1, one-hot changed hyperparameters, and the learning rate's logarithm, -1 to 1."""
    base = request.base
    rate = math.log(recipe.learning_rate / base.learning_rate, 3)
    scores = [recipe.score == score for score in request.scores if score != base.score]
    bits = [recipe.codebook_bits == bits for bits in CODEBOOK_BITS if bits != base.codebook_bits]
    return [1.0, *map(float, scores), *map(float, bits), rate, rate**2]
