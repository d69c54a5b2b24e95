"""Draws a search: accuracy over bytes or cycles of its trials, its goal and its choice."""

from __future__ import annotations

import importlib.util
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError
from deepcompress.file_write import replace_file
from deepcompress.training.config import FinishedTrial, Goal, Outcome, SizeMetric
from deepcompress.training.search import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES, DPI = (9.0, 6.0), 100
_UNITS = {"parameter_bytes": "bytes", "cycles": "cycles"}
_TITLES = {
    "parameter_bytes": "bytes of parameters: weights, indices, biases, scales, tables",
    "cycles": "cycles per inference, estimated",
}
# From the palette of Okabe and Ito for colour-blind readers; shapes differ as well.
_TRIAL, _CHOSEN, _BASELINE, _LIMIT = "#0072B2", "#D55E00", "#009E73", "#555555"


def draw_curve(result: SearchResult, baseline: float, path: Path) -> None:
    """Writes the plot as a PNG of 900 x 600 pixels.

    Args:
        baseline: accuracy of the float network, percent.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    require_matplotlib(path)
    try:
        replace_file(path, curve_as_png(result, baseline))
    except OSError as error:
        raise UserError(
            f"it cannot be written ({error.strerror or error})",
            f"picture {path}",
            "Free disk space or choose another folder",
        ) from None


def curve_as_png(result: SearchResult, baseline: float) -> bytes:
    """The content of the file that `draw_curve` writes."""
    picture = io.BytesIO()
    figure = plot_curve(result, baseline)
    figure.savefig(picture, dpi=DPI, format="png", metadata={"Software": None})
    return picture.getvalue()


def require_matplotlib(path: Path) -> None:
    """Raises UserError if it is missing. Called before hours of training, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(
            "drawing the plot needs matplotlib, which is not installed",
            f"picture {path}",
            "Run pip install matplotlib with the Python that has torch",
        )


def plot_curve(result: SearchResult, baseline: float) -> Figure:
    """The plot as a figure of matplotlib; needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_goal(axes, result, baseline)
    _draw_trials(axes, result, baseline)
    _scale_size(axes, result)
    _scale_accuracy(axes, result, baseline)
    metric = "size" if result.goal.size_metric == "parameter_bytes" else "cycles"
    axes.set_title(f"Accuracy over {metric} of all trials", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", labelspacing=0.8, framealpha=0.95)
    return figure


def _budget(goal: Goal) -> int | None:
    """Of the size on the horizontal axis."""
    return goal.cycle_budget if goal.size_metric == "cycles" else goal.parameter_budget


def _draw_goal(axes: Axes, result: SearchResult, baseline: float) -> None:
    axes.axhline(baseline, color=_BASELINE, label=f"float network: {baseline:.2f}%")
    goal = result.goal
    if goal.max_accuracy_drop is not None:
        least = baseline - goal.max_accuracy_drop
        label = f"tolerated: {least:.2f}% (-{goal.max_accuracy_drop:g})"
        axes.axhline(least, color=_LIMIT, linestyle="--", label=label)
    budget = _budget(result.goal)
    if budget is not None:
        label = f"budget: {budget:,} {_UNITS[result.goal.size_metric]}"
        axes.axvline(budget, color=_LIMIT, linestyle=":", label=label)


def _draw_trials(axes: Axes, result: SearchResult, baseline: float) -> None:
    metric = result.goal.size_metric
    kinds = ((True, _TRIAL, "meets the goal"), (False, "white", "misses the goal"))
    for meets, color, label in kinds:
        outcomes = [
            trial.outcome
            for trial in result.trials
            if _meets(result.goal, trial, baseline) is meets and not trial.stopped
        ]
        _scatter(axes, metric, outcomes, label, facecolor=color, edgecolor=_TRIAL)
    stopped = [trial.outcome for trial in result.trials if trial.stopped]
    _scatter(axes, metric, stopped, "stopped early", marker="x", color=_LIMIT)
    chosen = result.outcome
    axes.scatter(
        getattr(chosen, metric),
        chosen.accuracy,
        s=190,
        marker="D",
        facecolor="none",
        edgecolor=_CHOSEN,
        linewidth=2.2,
        zorder=4,
        label=f"{'chosen' if result.met else 'nearest'}: "
        f"{getattr(chosen, metric):,} {_UNITS[metric]}, {chosen.accuracy:.2f}%",
    )


def _meets(goal: Goal, trial: FinishedTrial, baseline: float) -> bool:
    return not goal.excess(trial.outcome, baseline=baseline)


def _scatter(
    axes: Axes, metric: SizeMetric, outcomes: list[Outcome], label: str, **style: Any
) -> None:
    if outcomes:
        axes.scatter(
            [getattr(outcome, metric) for outcome in outcomes],
            [outcome.accuracy for outcome in outcomes],
            s=55,
            linewidth=1.5,
            zorder=3,
            label=label,
            **style,
        )


def _scale_size(axes: Axes, result: SearchResult) -> None:
    """A logarithmic axis with numbers written out."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    sizes = [getattr(trial.outcome, result.goal.size_metric) for trial in result.trials]
    budget = _budget(result.goal)
    if budget is not None:
        sizes.append(budget)
    low, high = min(sizes), max(sizes)
    margin = max(1.15, (high / low) ** 0.06)
    low, high = low / margin, high * margin
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    if high / low < 12:  # a decade has only three ticks of LogLocator
        ticks = MaxNLocator(nbins=6, steps=(1, 2, 5, 10)).tick_values(low, high)
    else:
        subs = (1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)
        ticks = LogLocator(subs=subs, numticks=12).tick_values(low, high)
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(_TITLES[result.goal.size_metric])


def _scale_accuracy(axes: Axes, result: SearchResult, baseline: float) -> None:
    """Linear around the baseline, logarithmic far below it, so that the plot can show a network
    with very low accuracy and still resolve small losses. Ticks are at round losses."""
    import numpy as np
    from matplotlib.ticker import AsinhLocator, FuncFormatter

    tolerated = result.goal.max_accuracy_drop
    unit = 0.5 if tolerated is None else max(tolerated, 0.2)
    changes = [0.0, *(trial.outcome.accuracy - baseline for trial in result.trials)]
    if tolerated is not None:
        changes.append(-tolerated)
    heights = np.arcsinh(np.array(changes) / unit)
    margin = max(0.07 * float(np.ptp(heights)), 0.1)
    low = unit * math.sinh(heights.min() - margin)
    high = unit * math.sinh(heights.max() + margin)
    axes.set_yscale(
        "function",
        functions=(
            lambda accuracy: np.arcsinh((accuracy - baseline) / unit),
            lambda height: baseline + unit * np.sinh(height),
        ),
    )
    axes.set_ylim(baseline + low, baseline + high)
    # Base 0 places ticks evenly on the axis, at changes of one significant digit.
    ticks = AsinhLocator(unit, numticks=8, base=0).tick_values(low, min(high, 100 - baseline))
    axes.set_yticks([baseline + tick for tick in ticks if max(low, -baseline) <= tick <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.2f} ({y - baseline:+.3g})"))
    axes.set_ylabel("accuracy of the int8 network on validation samples, % (change)")
