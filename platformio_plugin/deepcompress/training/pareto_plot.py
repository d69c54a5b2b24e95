"""Draws accuracy against size, bytes or cycles: what a search tried, was asked for, and chose."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.errors import UserError
from deepcompress.training.search import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES, DPI = (9.0, 6.0), 100
_WIDE = 0.3  # of an axis is too much without a number
_UNITS = {"parameter_bytes": "bytes", "cycles": "cycles"}
_TITLES = {
    "parameter_bytes": "bytes of parameters: weights, indices, biases, scales, tables",
    "cycles": "cycles of an inference, estimated",
}
# Of Okabe and Ito's palette, which colour-blind readers can tell apart; shapes differ as well.
_TRIED, _CHOSEN, _BASELINE, _LIMIT = "#0072B2", "#D55E00", "#009E73", "#555555"


def draw_curve(found: Found, baseline: float, path: Path) -> None:
    """Writes the picture as a PNG of 900 x 600 pixels.

    Args:
        baseline: accuracy of the float network, percent.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    require_matplotlib(path)
    fresh = path.with_suffix(".png.new")
    try:
        figure = plot_curve(found, baseline)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(fresh, dpi=DPI, format="png", metadata={"Software": None})
        fresh.replace(path)
    except OSError as error:
        raise UserError(
            f"it cannot be written ({error.strerror or error})",
            f"picture {path}",
            "Make room or choose another folder",
        ) from None


def require_matplotlib(path: Path) -> None:
    """Raises UserError where it is missing; to be asked before hours of training, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(
            "drawing the curve needs matplotlib, which is not installed",
            f"picture {path}",
            "Run pip install matplotlib with the Python that has torch",
        )


def plot_curve(found: Found, baseline: float) -> Figure:
    """The picture as a figure of matplotlib, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_goal(axes, found, baseline)
    _draw_trials(axes, found, baseline)
    _scale_size(axes, found)
    _scale_accuracy(axes, found, baseline)
    against = "size" if _size(found) == "parameter_bytes" else "cycles"
    axes.set_title(f"Accuracy against {against} of what the search tried", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", labelspacing=0.8, framealpha=0.95)
    return figure


def _size(found: Found) -> str:
    """What the search made small: a field of its outcomes."""
    return "cycles" if found.goal.size == "cycles" else "parameter_bytes"


def _budget(found: Found) -> int | None:
    """Of that size."""
    goal = found.goal
    return goal.cycle_budget if _size(found) == "cycles" else goal.parameter_budget


def _draw_goal(axes: Axes, found: Found, baseline: float) -> None:
    axes.axhline(baseline, color=_BASELINE, label=f"float network: {baseline:.2f}%")
    goal = found.goal
    if goal.max_accuracy_drop is not None:
        least = baseline - goal.max_accuracy_drop
        label = f"tolerated: {least:.2f}% (-{goal.max_accuracy_drop:g})"
        axes.axhline(least, color=_LIMIT, linestyle="--", label=label)
    budget = _budget(found)
    if budget is not None:
        label = f"budget: {budget:,} {_UNITS[_size(found)]}"
        axes.axvline(budget, color=_LIMIT, linestyle=":", label=label)


def _draw_trials(axes: Axes, found: Found, baseline: float) -> None:
    size = _size(found)
    outcomes = [trial.outcome for trial in found.trials]
    met = [o for o in outcomes if not found.goal.excess(o, baseline=baseline)]
    unmet = [o for o in outcomes if found.goal.excess(o, baseline=baseline)]
    for some, face, label in ((met, _TRIED, "meets the goal"), (unmet, "white", "does not")):
        if some:
            axes.scatter(
                [getattr(outcome, size) for outcome in some],
                [outcome.accuracy for outcome in some],
                s=55,
                facecolor=face,
                edgecolor=_TRIED,
                linewidth=1.5,
                zorder=3,
                label=label,
            )
    chosen = found.outcome
    axes.scatter(
        getattr(chosen, size),
        chosen.accuracy,
        s=190,
        marker="D",
        facecolor="none",
        edgecolor=_CHOSEN,
        linewidth=2.2,
        zorder=4,
        label=f"{'chosen' if found.met else 'nearest'}: "
        f"{getattr(chosen, size):,} {_UNITS[size]}, {chosen.accuracy:.2f}%",
    )


def _scale_size(axes: Axes, found: Found) -> None:
    """Logarithmic, with numbers written out."""
    from matplotlib.ticker import NullLocator

    sizes = [getattr(trial.outcome, _size(found)) for trial in found.trials]
    budget = _budget(found)
    if budget is not None:
        sizes.append(budget)
    low, high = min(sizes), max(sizes)
    room = max(1.15, (high / low) ** 0.06)
    low, high = low / room, high * room
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = _round_numbers(low, high, math.log)
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(_TITLES[_size(found)])


def _scale_accuracy(axes: Axes, found: Found, baseline: float) -> None:
    """Linear around the tolerated loss, logarithmic far below: a network that collapsed is shown
    and does not press all others together."""
    import numpy as np

    tolerated = found.goal.max_accuracy_drop
    unit = 0.5 if tolerated is None else max(tolerated, 0.2)

    def place(accuracy: np.ndarray) -> np.ndarray:
        return np.arcsinh((accuracy - baseline) / unit)

    def accuracy_at(height: np.ndarray) -> np.ndarray:
        return baseline + unit * np.sinh(height)

    shown = [baseline, *(trial.outcome.accuracy for trial in found.trials)]
    if tolerated is not None:
        shown.append(baseline - tolerated)
    bottom, top = place(min(shown)), place(max(shown))
    room = max(0.07 * (top - bottom), 0.1)
    low, high = accuracy_at(bottom - room), accuracy_at(top + room)
    axes.set_yscale("function", functions=(place, accuracy_at))
    axes.set_ylim(low, high)
    ticks = _round_numbers(low, high, place)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylabel("accuracy of the int8 network on validation samples, %")


def _round_numbers(low: float, high: float, place: Callable[[float], float]) -> list[float]:
    """Numbers to write at an axis: round ones as far as these leave no wide gap.

    Args:
        place: where on the axis a number is.
    """
    axis = place(high) - place(low)
    numbers: list[float] = []
    step = Decimal(10) ** math.floor(math.log10(high))
    divisors = itertools.cycle((Decimal(2), Decimal("2.5"), Decimal(2)))  # 10, 5, 2, 1, 0.5, ...
    while True:
        for multiple in range(math.ceil(low / float(step)), math.floor(high / float(step)) + 1):
            number = float(multiple * step)
            if all(abs(place(number) - place(other)) >= axis / 10 for other in numbers):
                numbers.append(number)
        places = sorted(map(place, (low, *numbers, high)))
        if max(right - left for left, right in itertools.pairwise(places)) < _WIDE * axis:
            return sorted(numbers)
        step /= next(divisors)
