"""Reads recipes and outcomes from Optuna's trials, and writes outcomes to them.

A recipe is the base recipe with the trial's parameters. An outcome is stored as user attributes,
one per field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING

from deepcompress.training.config import FinishedTrial, Outcome, Recipe, Trial

if TYPE_CHECKING:
    import optuna

_FIELDS = tuple(field.name for field in fields(Outcome))


def read_trials(trials: Sequence[optuna.trial.FrozenTrial], base: Recipe) -> tuple[Trial, ...]:
    """The trials that are running, complete or pruned, by number.

    A failed trial does not count. Nothing marks a trial as failed here, but a user can, with
    Optuna's tools, to have another one in its place.
    """
    read = (_read_trial(trial, base) for trial in trials)
    return tuple(trial for trial in read if trial is not None)


def _read_trial(trial: optuna.trial.FrozenTrial, base: Recipe) -> Trial | None:
    state = trial.state.name
    if state not in ("RUNNING", "COMPLETE", "PRUNED"):
        return None
    recipe = replace(base, **{key: trial.params[key] for key in trial.params if hasattr(base, key)})
    if state == "RUNNING":
        return Trial(trial.number, recipe)
    outcome = read_outcome(trial)
    if outcome is None:
        return None
    return FinishedTrial(trial.number, recipe, outcome, stopped=state == "PRUNED")


def read_outcome(trial: optuna.trial.FrozenTrial) -> Outcome | None:
    """None if the trial has none yet."""
    if not all(name in trial.user_attrs for name in _FIELDS):
        return None
    return Outcome(**{name: trial.user_attrs[name] for name in _FIELDS})


def write_outcome(trial: optuna.Trial, outcome: Outcome) -> None:
    """Before the trial is finished."""
    for name, value in asdict(outcome).items():
        trial.set_user_attr(name, value)
