"""Which recipe to train next: what all trials so far say about sizes and about knobs.

Each trial tells roughly which size its recipe would need to lose just what is tolerated, because a
network's loss of accuracy grows about with the square of how much smaller it gets. The logarithm of
that size is taken as a sum of what the default recipe needs and of what each changed knob adds, and
Bayesian linear regression (Bishop, Pattern Recognition and Machine Learning, 3.3) says how sure
each term is. Knobs are drawn by Thompson sampling from it, the size is the one that it expects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepcompress.training.config import Goal, Recipe
from deepcompress.training.trial_store import Trial

CODEBOOK_BITS = (3, 4, 5)
LEARNING_RATES = (1 / 3, 3**-0.5, 1, 3**0.5, 3)  # times the default
KERNEL_BYTES = 4096  # of flash, until a trial has shown how many they are

_STEEPNESS = 2.0  # the exponent of loss over size
_KNOB = 0.2  # how much a changed knob moves the logarithm of the size needed: standard deviation
_NOISE, _FAR = 0.1, 0.25  # of that logarithm: of a trial's; more, the further it is extrapolated
_LEAST_LOSS, _MOST_LOSS = 0.03, 4.0  # in points; in tolerated losses. Beyond, it says no more
_SETTLED = 3  # trials that look for the size with the default knobs, before the knobs change
# At least, from the smallest that is enough, and from the largest that failed.
_STEP_DOWN, _STEP_UP = 0.95, 1.3
_STEP_BACK = 1.03  # from the size that is expected, for each trial that failed below what is enough


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        baseline: accuracy of the float network, percent.
        sizes: smallest and largest sensible parameter bytes, or cycles where the size is in these.
        base: the default recipe; its size is ignored.
        scores: the scores to choose from, besides the default one.
    """

    goal: Goal
    baseline: float
    sizes: tuple[int, int]
    base: Recipe
    scores: tuple[str, ...]


def suggest(problem: Problem, trials: Sequence[Trial], *, last: bool) -> Recipe:
    """The recipe of the next trial, none of those before: the same for the same trials.

    Args:
        trials: all so far; those without an outcome are running elsewhere.
        last: whether no other follows.
    """
    number = len(trials)
    finished = [trial for trial in trials if trial.outcome is not None]
    knobs, mean, covariance = _regress(problem, finished)
    features = np.array([_features(problem, knob) for knob in knobs])
    random = np.random.default_rng((problem.base.seed, number))
    order = list(np.argsort(features @ random.multivariate_normal(mean, covariance)))
    settled = _SETTLED if problem.goal.max_accuracy_drop is not None else 1
    if number == len(finished) < settled:
        order.insert(0, 0)
    expected = math.exp(np.min(features @ mean))
    size = _next_size(problem, finished, expected, last=last)
    tried = {trial.recipe for trial in trials}
    ends = _ends(problem, size, finished)
    recipes = (replace(knobs[index], **ends) for index in order)
    untried = (recipe for recipe in recipes if recipe not in tried)
    return next(untried, replace(problem.base, seed=problem.base.seed + number, **ends))


def size_needed(problem: Problem, trials: Sequence[Trial]) -> float:
    """The size that the trials let expect for the tolerated loss, as `_size_of` measures it."""
    knobs, mean, _ = _regress(problem, trials)
    return math.exp(min(np.dot(_features(problem, knob), mean) for knob in knobs))


def _size_of(problem: Problem, trial: Trial) -> float:
    """Bytes or cycles, or where a sparsity is asked for the share of the weights that is left.

    Where another budget stopped the training later, that is less than what the recipe says.
    """
    size = getattr(trial.recipe, problem.goal.size)
    if problem.goal.size == "sparsity":
        return 1 - size
    return min(size, getattr(trial.outcome, problem.goal.size))


def allowed(goal: Goal, what: str, trials: Sequence[Trial]) -> float:
    """Parameter bytes or cycles that the budgets leave; infinite without one."""
    if what == "cycles":
        return math.inf if goal.cycle_budget is None else goal.cycle_budget
    return _bytes_allowed(goal, trials)


def _bytes_allowed(goal: Goal, trials: Sequence[Trial]) -> float:
    budget = math.inf if goal.parameter_budget is None else goal.parameter_budget
    if goal.flash_budget is None:
        return budget
    kernels = [t.outcome.flash_bytes - t.outcome.parameter_bytes for t in trials]
    return max(1, min(budget, goal.flash_budget - max(kernels, default=KERNEL_BYTES)))


def _regress(
    problem: Problem, trials: Sequence[Trial]
) -> tuple[list[Recipe], np.ndarray, np.ndarray]:
    """All choices of knobs, the default first; mean and covariance of the terms [knob features]."""
    spread = np.array([3.0] + [_KNOB] * (len(_features(problem, problem.base)) - 1))
    prior = np.zeros(len(spread))
    prior[0] = math.log(_first_size(problem))
    beyond = np.array([_extrapolation(problem, trial) for trial in trials])
    needed = np.array([math.log(_size_of(problem, trial)) for trial in trials]) + beyond
    weight = 1 / np.hypot(_NOISE, _FAR * beyond)
    seen = np.array([_features(problem, trial.recipe) for trial in trials])
    seen = seen.reshape(-1, len(spread)) * weight[:, None]
    covariance = np.linalg.inv(seen.T @ seen + np.diag(spread**-2))
    mean = covariance @ (seen.T @ (needed * weight) + prior / spread**2)
    return _knobs(problem), mean, covariance


def _extrapolation(problem: Problem, trial: Trial) -> float:
    """Logarithm of the size that a trial's recipe needs over the size that it had."""
    tolerated = problem.goal.max_accuracy_drop
    tolerated = max(0.5 if tolerated is None else tolerated, 0.05)
    loss = max(problem.baseline - trial.outcome.accuracy, _LEAST_LOSS) / tolerated
    return math.log(min(loss, _MOST_LOSS)) / _STEEPNESS


def _knobs(problem: Problem) -> list[Recipe]:
    base = problem.base
    scores = dict.fromkeys((base.score, *problem.scores))
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


def _features(problem: Problem, recipe: Recipe) -> list[float]:
    """1, which knobs differ from the default, and how far up the learning rate is: -1 to 1."""
    base = problem.base
    rate = math.log(recipe.learning_rate / base.learning_rate, 3)
    scores = [recipe.score == score for score in problem.scores if score != base.score]
    bits = [recipe.codebook_bits == bits for bits in CODEBOOK_BITS if bits != base.codebook_bits]
    return [1.0, *map(float, scores), *map(float, bits), rate, rate**2]


def _range(problem: Problem) -> tuple[float, float]:
    """Smallest and largest size."""
    low, high = problem.sizes
    if problem.goal.size != "sparsity":
        return low, high
    left = 1 - problem.goal.sparsity
    return left * low / high, left


def _first_size(problem: Problem) -> float:
    """The sparsity that is asked for, the budget, or with only a loss tolerated a middle size."""
    largest = _largest_size(problem, ())
    if problem.goal.max_accuracy_drop is None or problem.goal.sparsity is not None:
        return largest
    return min(largest, math.sqrt(math.prod(_range(problem))))


def _largest_size(problem: Problem, trials: Sequence[Trial]) -> float:
    """What range and budgets allow, as far as the trials show what becomes of a size."""
    low, high = _range(problem)
    by_weights = problem.goal.size == "sparsity"
    taken = "parameter_bytes" if by_weights else problem.goal.size
    budget = allowed(problem.goal, taken, trials)
    if budget == math.inf:
        return high
    if not trials:
        return high if by_weights else max(low, min(high, budget))
    taken_by = {trial: getattr(trial.outcome, taken) for trial in trials}
    nearest = min(trials, key=lambda trial: abs(math.log(taken_by[trial] / budget)))
    room = budget * _size_of(problem, nearest) / taken_by[nearest]
    # A training makes at most the bytes or cycles it was allowed; a sparsity's bytes only follow.
    room = 0.98 * room if by_weights else min(room, budget)
    return max(low, min(high, room))


def _next_size(problem: Problem, trials: Sequence[Trial], expected: float, *, last: bool) -> float:
    low, _ = _range(problem)
    largest = _largest_size(problem, trials)
    if problem.goal.max_accuracy_drop is None:
        return largest
    if not trials:
        return _first_size(problem)
    enough = [
        _size_of(problem, trial)
        for trial in trials
        if not problem.goal.excess(trial.outcome, baseline=problem.baseline)
    ]
    if enough:
        misses = sum(_size_of(problem, trial) < min(enough) for trial in trials)
        expected = min(expected * _STEP_BACK**misses, _STEP_DOWN * min(enough))
    elif last:
        expected = largest
    else:
        expected = max(expected, _STEP_UP * max(_size_of(problem, trial) for trial in trials))
    return min(max(expected, low), largest)


def _ends(problem: Problem, size: float, trials: Sequence[Trial]) -> dict[str, float | None]:
    """Where a training of this size ends, and the other budget that it keeps to by itself."""
    goal = problem.goal
    if goal.size == "cycles":
        budget = allowed(goal, "parameter_bytes", trials)
        return {"cycles": int(size), "parameter_bytes": None if budget == math.inf else int(budget)}
    if goal.size == "parameter_bytes":
        return {"parameter_bytes": int(size), "cycles": goal.cycle_budget}
    return {"sparsity": max(goal.sparsity, round(1 - size, 4)), "cycles": goal.cycle_budget}
