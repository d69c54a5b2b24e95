"""Warnings for options that are set but change nothing, so that none is accepted and ignored.

The metadata of an option name what it needs (`Option.needs`); `_CONDITIONS` defines these names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from deepcompress.data.user_code import is_python
from deepcompress.frontend.frontend import OPTIONS_OF_FILES
from deepcompress.options import OPTIONS, Option, Options


@dataclass(frozen=True)
class Use:
    """What options are used for.

    Attributes:
        command: "compile", "check" or "prune".
        kind: of the model file, as users call it.
        reads: the options of `OPTIONS_OF_FILES` that this kind of file reads.
    """

    command: str
    kind: str
    reads: Collection[str]


@dataclass(frozen=True)
class _Condition:
    """When an option has an effect.

    Attributes:
        holds: whether the condition is met.
        reason: why the option has no effect if it is not, and what to do.
    """

    holds: Callable[[Options, Use], bool]
    reason: str


def _retrains(options: Options, use: Use) -> bool:
    return use.command == "prune" or (use.command == "compile" and options.retrain)


def _has_several_trials(options: Options) -> bool:
    if options.method == "level" and options.max_accuracy_drop is None:
        return False
    if options.trials is not None:
        return options.trials > 1
    return options.max_accuracy_drop is not None or options.flash_budget is not None


_CONDITIONS: dict[str, _Condition] = {
    "retraining": _Condition(
        _retrains,
        "it is for retraining. Set retrain = yes, data and a goal, or leave it out",
    ),
    "compiling": _Condition(
        lambda options, use: use.command == "compile",
        "only compiling uses it. Give it when you compile",
    ),
    "training command": _Condition(
        lambda options, use: use.command != "check",
        "`check` trains nothing and runs no samples. Leave it out",
    ),
    "one sparsity": _Condition(
        lambda options, use: isinstance(options.sparsity, float) and not _retrains(options, use),
        "it needs one number as sparsity, and no retraining. Set sparsity, or leave it out",
    ),
    "prune auto": _Condition(
        lambda options, use: options.prune == "auto",
        "only prune = auto learns. Set it, or leave this out",
    ),
    "data are read": _Condition(
        lambda options, use: _retrains(options, use) or options.calibration is None,
        "ranges are measured on the option calibration. Set retrain = yes to train on data, or "
        "leave it out",
    ),
    "a Python file": _Condition(
        lambda options, use: (
            ("architecture" in use.reads and options.architecture is not None)
            or ("trust_pickle" in use.reads and options.trust_pickle)
            or (options.data is not None and is_python(options.data))
        ),
        "no Python file is run. Leave it out",
    ),
    "several trials": _Condition(
        lambda options, use: _has_several_trials(options),
        "the search runs one training. Allow more by trials, or leave it out",
    ),
    "a search": _Condition(
        lambda options, use: options.method != "level" or options.max_accuracy_drop is not None,
        "the level method trains once for a sparsity. Leave it out",
    ),
    "a build": _Condition(
        lambda options, use: False,
        "only builds read it. Run the command with that Python: PYTHON -m deepcompress",
    ),
}


def unused_options(options: Options, use: Use) -> list[str]:
    """A sentence with advice for each option that is set but has no effect."""
    return [
        f"the option {option.name} has no effect: {reason}"
        for option in OPTIONS
        if getattr(options, option.name) != option.default
        if (reason := _reason(option, options, use))
    ]


def _reason(option: Option, options: Options, use: Use) -> str | None:
    if option.name in OPTIONS_OF_FILES and option.name not in use.reads:
        return f"the model file, of the kind {use.kind}, needs none. Leave it out"
    for name in option.needs:
        if not _CONDITIONS[name].holds(options, use):
            return _CONDITIONS[name].reason
    return None
