"""Looks for the recipe that meets a goal, trial by trial: each trial is a whole training.

`search` chooses size and knobs by what `suggest` learns from the trials. `level_search` is the
method of Dogan et al. (arXiv 2103.15972), a baseline: level pruning, and a binary search for the
highest sparsity within the tolerated loss. What was tried is kept by `study`: a search that is
killed goes on where it was, and machines that name the same study share the work. One process alone
ends with the same result however often it is killed; with several it depends on who is done when.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepcompress.errors import UserError
from deepcompress.training.config import Goal, Outcome, Recipe
from deepcompress.training.sampler import Problem, allowed, size_needed, suggest
from deepcompress.training.trial_store import Study, Trial, open_study

SCORES = ("bytes", "taylor", "cycles", "lamp")
SECONDS_BETWEEN_LOOKS = 1.0  # at trials that run elsewhere


@dataclass(frozen=True)
class Found:
    """What a search ended with.

    Attributes:
        recipe, outcome, folder: of the chosen trial.
        met: whether it meets the goal.
        shortfall: where it does not, a sentence that says what is nearest; else empty.
        trials: all, by number.
    """

    goal: Goal
    recipe: Recipe
    outcome: Outcome
    folder: Path
    met: bool
    shortfall: str
    trials: tuple[Trial, ...]


def search(
    goal: Goal,
    *,
    study: Path | str,
    run: Callable[[Recipe, Path], Outcome],
    baseline: float,
    sizes: tuple[int, int],
    base: Recipe,
    trials: int,
    fingerprint: str,
    work: Path | None = None,
    scores: Sequence[str] = SCORES,
    say: Callable[[str], None] = lambda line: None,
) -> Found:
    """The smallest or fastest network that meets the goal, or where it tolerates no loss the most
    accurate.

    Args:
        study: a folder, or the URL of a database; `work` is then the trials' folder.
        run: trains as a recipe says, in a folder. Called again with the same after a kill, it goes
            on, and its outcome is the same.
        baseline: accuracy of the float network, percent.
        sizes: smallest and largest parameter bytes, or cycles if `goal.size` is, that make sense.
        base: the default recipe, and the seed of the search.
        trials: how many trainings there may be; those of earlier calls count.
        fingerprint: of all that decides outcomes besides a recipe.
        scores: which scores to try.
        say: is told, a line a trial, how it goes.

    Raises:
        UserError: the study cannot be opened, or is of something else.
    """
    problem = Problem(goal, baseline, sizes, base, tuple(scores))

    def next_recipe(before: Sequence[Trial]) -> Recipe:
        return suggest(problem, before, last=len(before) + 1 >= trials)

    opened = open_study(study, work=work, fingerprint=fingerprint)
    tried = _try_all(opened, next_recipe, run, trials, _Progress(goal, baseline, trials, say))
    return _found(goal, baseline, opened, tried, advise=lambda: _other_size(problem, tried))


def level_search(
    goal: Goal,
    *,
    study: Path | str,
    run: Callable[[Recipe, Path], Outcome],
    baseline: float,
    sizes: tuple[int, int],
    base: Recipe,
    trials: int,
    fingerprint: str,
    work: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Found:
    """The highest sparsity within the tolerated loss by binary search, without codebooks.

    With a sparsity and no loss as the goal, that sparsity is trained once. Arguments as `search`;
    `sizes` does not count.

    Raises:
        UserError: as `search`; the goal names neither a loss nor a sparsity.
    """
    if goal.max_accuracy_drop is None:
        if goal.sparsity is None:
            raise UserError(
                "the level method needs a loss that it may approach, or a sparsity",
                "option method",
                "Add for example max_accuracy_drop = 0.5, or use method = gradual",
            )
        trials = 1

    def next_recipe(before: Sequence[Trial]) -> Recipe:
        sparsity = _halve(goal, baseline, before)
        return replace(base, sparsity=sparsity, score="level", codebook_bits=0)

    opened = open_study(study, work=work, fingerprint=fingerprint)
    tried = _try_all(opened, next_recipe, run, trials, _Progress(goal, baseline, trials, say))
    return _found(goal, baseline, opened, tried, advise=lambda: "")


def _halve(goal: Goal, baseline: float, before: Sequence[Trial]) -> float:
    """The middle between what is within the loss and what is not.

    A trial that runs elsewhere is taken to be within.
    """
    low, high = goal.sparsity or 0.0, 1.0
    if goal.sparsity is not None and not before:
        return low
    tolerated = Goal(max_accuracy_drop=goal.max_accuracy_drop)
    for trial in before:
        if trial.outcome and tolerated.excess(trial.outcome, baseline=baseline):
            high = min(high, trial.recipe.sparsity)
        else:
            low = max(low, trial.recipe.sparsity)
    return (min(low, high) + high) / 2


def _try_all(
    study: Study,
    next_recipe: Callable[[Sequence[Trial]], Recipe],
    run: Callable[[Recipe, Path], Outcome],
    count: int,
    progress: _Progress,
) -> tuple[Trial, ...]:
    """Runs trials until `count` are finished, here or elsewhere; returns them all."""
    while True:
        with study.claim(count, next_recipe) as trial:
            if trial is not None:
                progress.starts(trial)
                study.finish(trial, run(trial.recipe, study.folder(trial.number)))
                progress.ends(trial.number, study.trials())
                continue
        tried = study.trials()
        if all(trial.outcome for trial in tried):
            return tried
        progress.waits(tried)
        time.sleep(SECONDS_BETWEEN_LOOKS)


class _Progress:
    """Says how a search goes."""

    def __init__(self, goal: Goal, baseline: float, count: int, say: Callable[[str], None]) -> None:
        self._goal, self._baseline, self._count, self._say = goal, baseline, count, say
        self._began, self._done_here = time.monotonic(), 0
        self._waiting = False

    def starts(self, trial: Trial) -> None:
        self._say(f"trial {trial.number + 1} of {self._count}: {_describe(trial.recipe)}")

    def ends(self, number: int, tried: Sequence[Trial]) -> None:
        self._done_here += 1
        self._waiting = False
        outcome = tried[number].outcome
        meets = not self._goal.excess(outcome, baseline=self._baseline)
        best = _choose(self._goal, self._baseline, tried)
        change = outcome.accuracy - self._baseline
        line = f"trial {number + 1} of {self._count}: {outcome.parameter_bytes:,} B, "
        line += f"{outcome.cycles:,} cycles, "
        line += f"{outcome.accuracy:.2f}% ({change:+.2f}), "
        line += "meets the goal" if meets else "does not meet the goal"
        line += f"; best so far is trial {best.number + 1}{self._time_left(tried)}"
        self._say(line)

    def waits(self, tried: Sequence[Trial]) -> None:
        if not self._waiting:
            numbers = ", ".join(str(t.number + 1) for t in tried if t.outcome is None)
            self._say(f"waiting for what runs elsewhere: trial {numbers}")
        self._waiting = True

    def _time_left(self, tried: Sequence[Trial]) -> str:
        left = self._count - sum(trial.outcome is not None for trial in tried)
        minutes = (time.monotonic() - self._began) / self._done_here * left / 60
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


def _found(
    goal: Goal,
    baseline: float,
    study: Study,
    tried: Sequence[Trial],
    *,
    advise: Callable[[], str],
) -> Found:
    chosen = _choose(goal, baseline, tried)
    met = not goal.excess(chosen.outcome, baseline=baseline)
    return Found(
        goal=goal,
        recipe=chosen.recipe,
        outcome=chosen.outcome,
        folder=study.folder(chosen.number),
        met=met,
        shortfall="" if met else _shortfall(goal, baseline, chosen, len(tried)) + advise(),
        trials=tuple(tried),
    )


def _choose(goal: Goal, baseline: float, tried: Sequence[Trial]) -> Trial:
    """The best that meets the goal, or the nearest to it."""

    def rank(trial: Trial) -> tuple[float, ...]:
        outcome = trial.outcome
        merits = (getattr(outcome, goal.least), -outcome.accuracy)
        if goal.max_accuracy_drop is None:
            merits = merits[::-1]
        return (goal.excess(outcome, baseline=baseline), *merits, trial.number)

    return min((trial for trial in tried if trial.outcome), key=rank)


def _shortfall(goal: Goal, baseline: float, nearest: Trial, count: int) -> str:
    """What was asked, what came nearest, and what to allow instead."""
    outcome = nearest.outcome
    loss = baseline - outcome.accuracy
    asked, reached, allow = [], [], []
    if goal.max_accuracy_drop is not None:
        asked.append(f"a loss of {goal.max_accuracy_drop:g} points")
        reached.append(f"{loss:.2f} points")
        if loss > goal.max_accuracy_drop:
            allow.append(f"{math.ceil(10 * loss) / 10:g} points")
    for budget, taken, what in (
        (goal.parameter_budget, outcome.parameter_bytes, "bytes of parameters"),
        (goal.flash_budget, outcome.flash_bytes, "bytes of flash"),
        (goal.cycle_budget, outcome.cycles, "cycles"),
    ):
        if budget is not None:
            asked.append(f"{budget:,} {what}")
            reached.append(f"{taken:,} {what}")
            if taken > budget:
                allow.append(f"{taken:,} {what}")
    if goal.sparsity is not None:
        asked.append(f"sparsity {goal.sparsity:g}")
        reached.append(f"sparsity {nearest.recipe.sparsity:.4g}")
    trials = "1 trial" if count == 1 else f"{count} trials"
    return (
        f"{' with '.join(asked)} was not reached in {trials}: the nearest is "
        f"{' with '.join(reached)}; allow {' and '.join(allow)}"
    )


def _other_size(problem: Problem, tried: Sequence[Trial]) -> str:
    """', or about so much': what the tolerated loss lets expect to need, where that is too much."""
    if problem.goal.max_accuracy_drop is None:
        return ""
    size = size_needed(problem, tried)
    if problem.goal.sparsity is not None:
        asked = 1 - problem.goal.sparsity
        return f", or a sparsity of about {1 - size:.2g}" if asked < size < 1 else ""
    budget = allowed(problem.goal, problem.goal.size, tried)
    if size <= budget or budget == math.inf:
        return ""
    digits = 2 - math.ceil(math.log10(size))
    rounded = math.ceil(size * 10**digits) / 10**digits
    what = "cycles" if problem.goal.size == "cycles" else "bytes of parameters"
    return f", or about {rounded:,.0f} {what}"
