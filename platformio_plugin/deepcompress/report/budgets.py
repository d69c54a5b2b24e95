"""The budgets and the tolerated loss of accuracy, checked on the compiled network.

With retraining they are goals of the search as well. Without it they are limits: a network that
exceeds one is not written.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deepcompress.errors import UserError, setting
from deepcompress.options import Options
from deepcompress.report.board_fit import SPARSITIES

BUDGETS = ("parameter_budget", "flash_budget", "cycle_budget")
_UNITS = {
    "parameter_budget": "bytes of flash for parameters",
    "flash_budget": "bytes of flash for parameters and code",
    "cycle_budget": "estimated cycles",
}
_ROUNDING = 1e-9  # 99.2 - 99.0 is a little more than 0.2

# From a sparsity to what the model would need with it, by the name of the budget.
NeedsAt = Callable[[float], Mapping[str, int]]


def needs(facts: Mapping[str, Any]) -> dict[str, int]:
    """What a report's network needs, by the name of the budget."""
    flash = facts["flash"]
    return {
        "parameter_budget": flash["weights_bytes"],
        "flash_budget": flash["weights_bytes"] + flash["code_bytes"],
        "cycle_budget": facts["cycles"],
    }


def check_goals(facts: Mapping[str, Any], options: Options, needs_at: NeedsAt) -> None:
    """Raises UserError if the report's network misses a goal of the options.

    Args:
        needs_at: what the network would need if pruned to a sparsity, for the advice.
    """
    for problem in over_budget(facts, options, needs_at):
        raise problem
    if options.max_accuracy_drop is not None and not options.retrain:
        _check_accuracy(facts, options.max_accuracy_drop)


def over_budget(
    facts: Mapping[str, Any], options: Options, needs_at: NeedsAt
) -> Iterator[UserError]:
    """The error for each budget that the report's network exceeds."""
    for name, needed in needs(facts).items():
        budget = getattr(options, name)
        if budget is not None and needed > budget:
            yield UserError(
                f"it needs {needed:,} {_UNITS[name]}, {needed - budget:,} more than the "
                f"{budget:,} of {setting(name)}",
                f"model {facts['name']}",
                _remedy(name, budget, options, needs_at),
            )


def _remedy(name: str, budget: int, options: Options, needs_at: NeedsAt) -> str:
    if options.retrain:
        return "Retraining met the goal before the other options were applied: relax it"
    retrain = (
        f"{setting('retrain', 'yes')} with {setting('data')} prunes while it trains, which costs "
        "less accuracy"
    )
    enough = bisect_left(SPARSITIES, True, key=lambda sparsity: needs_at(sparsity)[name] <= budget)
    if enough == len(SPARSITIES):
        return f"No sparsity alone meets it: use a smaller network or a larger budget. {retrain}"
    optimize = setting("optimize", "speed" if name == "cycle_budget" else "size")
    return (
        f"With {setting('sparsity', SPARSITIES[enough])} and {optimize} it would meet it; look at "
        f"the accuracy then. {retrain}"
    )


def _check_accuracy(facts: Mapping[str, Any], tolerated: float) -> None:
    accuracy, goal = facts["accuracy"] or {}, setting("max_accuracy_drop", f"{tolerated:g}")
    original, int8 = accuracy.get("float_percent"), accuracy.get("int8_percent")
    if original is None or int8 is None:
        raise UserError(
            "there are no labels to measure the accuracy with",
            f"option {goal}",
            f"Save `labels` in the {setting('calibration')} file, or leave the option out",
        )
    if original - int8 > tolerated + _ROUNDING:
        raise UserError(
            f"it loses {original - int8:.2f} points of accuracy ({original:.2f}% float, "
            f"{int8:.2f}% int8), more than {tolerated:g}",
            f"model {facts['name']}",
            f"Lower {setting('sparsity')}, or set {setting('retrain', 'yes')} and "
            f"{setting('data')}; or tolerate more: {goal} is the limit",
        )
