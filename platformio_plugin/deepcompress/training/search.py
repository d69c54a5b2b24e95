"""Searches for the recipe that meets a goal. Each trial is a whole training.

The samplers choose the recipe of the next trial, and Optuna's study keeps the trials. A search that
was killed continues where it was, and processes on several machines that name the same study share
its trials. A search in one process ends with the same result however often it is killed; the result
of several processes depends on the order in which their trials end.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.errors import UserError, setting
from deepcompress.training.config import (
    FinishedTrial,
    Goal,
    Outcome,
    Recipe,
    SearchRequest,
    StudyLocation,
    Trial,
)
from deepcompress.training.size_model import allowed, predict

if TYPE_CHECKING:
    from deepcompress.training.trial_store import Study

POLL_SECONDS = 1.0  # between two looks at trials that run in other processes

# Stores the outcome after a number of reports. It raises optuna.TrialPruned to end the trial early.
Report = Callable[[int, Outcome], None]
# Trains with a recipe in a folder. Called again after a kill it continues, with the same outcome.
Run = Callable[[Recipe, Path, Report], Outcome]


@dataclass(frozen=True)
class SearchResult:
    """What a search ended with.

    Attributes:
        recipe, outcome, folder: of the chosen trial.
        met: whether it meets the goal.
        shortfall: if it does not, a sentence with what is nearest; else empty.
        trials: all, by number.
    """

    goal: Goal
    recipe: Recipe
    outcome: Outcome
    folder: Path
    met: bool
    shortfall: str
    trials: tuple[FinishedTrial, ...]


def search(
    request: SearchRequest,
    location: StudyLocation,
    run: Run,
    *,
    progress: Callable[[str], None] = lambda line: None,
) -> SearchResult:
    """The network that meets the goal with the best objective, or the one nearest to the goal.

    Args:
        progress: takes a line at the start and at the end of each trial.

    Raises:
        UserError: Optuna is missing, the study cannot be opened or is of something else, or the
            method "level" has neither a loss nor a sparsity as its goal, or is to stop early.
    """
    require_optuna()
    from deepcompress.training.trial_store import open_study

    if request.method == "level":
        request = _level_request(request)
    study = open_study(location, request)
    trials = _run_trials(request, study, run, _Progress(request, progress))
    return _result(request, study, trials)


def require_optuna() -> None:
    """Raises UserError if Optuna is missing."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError(
            "the search needs Optuna, which is not installed",
            "retraining",
            "Run pip install optuna matplotlib with the Python that has torch",
        )


def _level_request(request: SearchRequest) -> SearchRequest:
    """A sparsity without a loss is trained once."""
    if request.early_stop != "none":
        raise UserError(
            "the level method bisects by final accuracies, so that no training may end early",
            f"option {setting('early_stop')}",
            f"Remove it, or use {setting('method', 'gradual')}",
        )
    trials = request.trials
    if request.goal.max_accuracy_drop is None:
        if request.goal.sparsity is None:
            raise UserError(
                "the level method needs a loss that it may approach, or a sparsity",
                f"option {setting('method')}",
                f"Add for example {setting('max_accuracy_drop', 0.5)}, or use "
                f"{setting('method', 'gradual')}",
            )
        trials = 1
    base = replace(request.base, score="level", codebook_bits=0)
    return replace(request, base=base, trials=trials)


def _run_trials(
    request: SearchRequest, study: Study, run: Run, progress: _Progress
) -> tuple[FinishedTrial, ...]:
    """Runs trials until all of the request are finished, here or elsewhere; returns them."""
    import optuna

    while True:
        with study.claim() as trial:
            if trial is not None:
                progress.starts(trial.number, trial.recipe)
                try:
                    trial.finish(run(trial.recipe, trial.folder, trial.report))
                except optuna.TrialPruned:
                    progress.stops(trial.number)
                else:
                    progress.ends(trial.number, study.trials())
                continue
        trials = study.trials()
        finished = _finished(trials)
        if len(finished) == len(trials):
            return finished
        progress.waits(trials)
        time.sleep(POLL_SECONDS)


def _finished(trials: Sequence[Trial]) -> tuple[FinishedTrial, ...]:
    return tuple(trial for trial in trials if isinstance(trial, FinishedTrial))


class _Progress:
    """Lines of progress of a search."""

    def __init__(self, request: SearchRequest, progress: Callable[[str], None]) -> None:
        self._request, self._progress = request, progress
        self._started, self._ended = time.monotonic(), 0
        self._waiting = False

    def starts(self, number: int, recipe: Recipe) -> None:
        self._line(number, _describe(recipe))

    def ends(self, number: int, trials: Sequence[Trial]) -> None:
        self._ended += 1
        self._waiting = False
        goal, baseline = self._request.goal, self._request.baseline
        finished = _finished(trials)
        outcome = next(trial.outcome for trial in finished if trial.number == number)
        meets = not goal.excess(outcome, baseline=baseline)
        best = _choose(goal, baseline, finished)
        self._line(
            number,
            f"{outcome.parameter_bytes:,} B, {outcome.cycles:,} cycles, "
            f"{outcome.accuracy:.2f}% ({outcome.accuracy - baseline:+.2f}), "
            f"{'meets the goal' if meets else 'does not meet the goal'}; "
            f"best so far is trial {best.number + 1}{self._time_left(len(finished))}",
        )

    def stops(self, number: int) -> None:
        self._ended += 1
        self._line(number, "stopped early, because other trials were better at this point")

    def waits(self, trials: Sequence[Trial]) -> None:
        if not self._waiting:
            running = [t.number + 1 for t in trials if not isinstance(t, FinishedTrial)]
            numbers = ", ".join(map(str, running))
            self._progress(f"waiting for other processes to finish trial {numbers}")
        self._waiting = True

    def _line(self, number: int, text: str) -> None:
        self._progress(f"trial {number + 1} of {self._request.trials}: {text}")

    def _time_left(self, finished: int) -> str:
        left = self._request.trials - finished
        minutes = (time.monotonic() - self._started) / self._ended * left / 60
        return f"; about {math.ceil(minutes)} min left" if left > 0 else ""


def _describe(recipe: Recipe) -> str:
    sizes = (
        ("sparsity {:.4g}", recipe.sparsity),
        ("{:,} cycles", recipe.cycles),
        ("{:,} B", recipe.parameter_bytes),
    )
    size = " and ".join(form.format(size) for form, size in sizes if size is not None)
    values = f"{recipe.codebook_bits}-bit codebook" if recipe.codebook_bits else "no codebook"
    return f"{size}, {recipe.score} scores, {values}, learning rate {recipe.learning_rate:g}"


def _result(request: SearchRequest, study: Study, trials: Sequence[FinishedTrial]) -> SearchResult:
    goal, baseline = request.goal, request.baseline
    chosen = _choose(goal, baseline, trials)
    met = not goal.excess(chosen.outcome, baseline=baseline)
    return SearchResult(
        goal=goal,
        recipe=chosen.recipe,
        outcome=chosen.outcome,
        folder=study.folder(chosen.number),
        met=met,
        shortfall="" if met else _shortfall(request, chosen, trials),
        trials=tuple(trials),
    )


def _choose(goal: Goal, baseline: float, trials: Sequence[FinishedTrial]) -> FinishedTrial:
    """The best complete trial that meets the goal, or the nearest to it."""

    def rank(trial: FinishedTrial) -> tuple[float, ...]:
        outcome = trial.outcome
        merits = (getattr(outcome, goal.least), -outcome.accuracy)
        if goal.objective == "accuracy":
            merits = merits[::-1]
        return (goal.excess(outcome, baseline=baseline), *merits, trial.number)

    return min((trial for trial in trials if not trial.stopped), key=rank)


def _shortfall(
    request: SearchRequest, nearest: FinishedTrial, trials: Sequence[FinishedTrial]
) -> str:
    """What was asked for, what is nearest, and what to allow instead."""
    goal, outcome = request.goal, nearest.outcome
    loss = request.baseline - outcome.accuracy
    asked, reached, allow = [], [], []
    if goal.max_accuracy_drop is not None:
        asked.append(f"a loss of {goal.max_accuracy_drop:g} points")
        reached.append(f"{loss:.2f} points")
        if loss > goal.max_accuracy_drop:
            allow.append(f"{math.ceil(10 * loss) / 10:g} points")
    for budget, used, unit in (
        (goal.parameter_budget, outcome.parameter_bytes, "bytes of parameters"),
        (goal.flash_budget, outcome.flash_bytes, "bytes of flash"),
        (goal.cycle_budget, outcome.cycles, "cycles"),
    ):
        if budget is not None:
            asked.append(f"{budget:,} {unit}")
            reached.append(f"{used:,} {unit}")
            if used > budget:
                allow.append(f"{used:,} {unit}")
    if goal.sparsity is not None:
        asked.append(f"sparsity {goal.sparsity:g}")
        reached.append(f"sparsity {nearest.recipe.sparsity:.4g}")
    count = "1 trial" if len(trials) == 1 else f"{len(trials)} trials"
    return (
        f"{' with '.join(asked)} was not reached in {count}: the nearest is "
        f"{' with '.join(reached)}; allow {' and '.join(allow)}"
        f"{'' if request.method == 'level' else _other_size(request, trials)}"
    )


def _other_size(request: SearchRequest, trials: Sequence[FinishedTrial]) -> str:
    """', or about SIZE': the size that the tolerated loss needs, if it exceeds the budget."""
    goal = request.goal
    if goal.max_accuracy_drop is None:
        return ""
    size = predict(request, trials).size
    if goal.sparsity is not None:
        asked = 1 - goal.sparsity
        return f", or a sparsity of about {1 - size:.2g}" if asked < size < 1 else ""
    budget = allowed(goal, goal.size_metric, trials)
    if size <= budget or budget == math.inf:
        return ""
    digits = 2 - math.ceil(math.log10(size))
    rounded = math.ceil(size * 10**digits) / 10**digits
    unit = "cycles" if goal.size == "cycles" else "bytes of parameters"
    return f", or about {rounded:,.0f} {unit}"
