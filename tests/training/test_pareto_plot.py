"""The plot of a search."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from deepcompress.errors import UserError
from deepcompress.training.config import FinishedTrial, Goal, Outcome, Recipe
from deepcompress.training.pareto_plot import draw_curve, plot_curve
from deepcompress.training.search import SearchResult

BASELINE = 98.95
TYPICAL = ((10_050, 99.02), (3_900, 98.93), (2_600, 98.7), (2_950, 98.77), (1_234, 71.5))


def result(points: tuple[tuple[int, float], ...], goal: Goal, *, chosen: int = 0) -> SearchResult:
    trials = tuple(
        FinishedTrial(
            number,
            Recipe(parameter_bytes=size),
            Outcome(accuracy, size, size + 3_000, 60 * size, size),
        )
        for number, (size, accuracy) in enumerate(points)
    )
    best = trials[chosen]
    met = not goal.excess(best.outcome, baseline=BASELINE)
    return SearchResult(goal, best.recipe, best.outcome, Path("trial"), met, "", trials)


def test_the_picture_is_a_png_of_900_by_600(tmp_path):
    path = tmp_path / "pictures" / "lenet5.png"
    draw_curve(result(TYPICAL, Goal(max_accuracy_drop=0.2), chosen=3), BASELINE, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">II", content[16:24]) == (900, 600)
    assert [file.name for file in path.parent.iterdir()] == ["lenet5.png"]


def test_the_same_search_is_drawn_in_the_same_bytes(tmp_path):
    paths = (tmp_path / "a.png", tmp_path / "b.png")
    for path in paths:
        draw_curve(result(TYPICAL, Goal(max_accuracy_drop=0.2)), BASELINE, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("points", "goal"),
    [
        (TYPICAL, Goal(max_accuracy_drop=0.2)),
        (TYPICAL, Goal(max_accuracy_drop=0.0, parameter_budget=900)),
        (((1_990, 89.9), (1_980, 89.4)), Goal(max_accuracy_drop=1.0, parameter_budget=2_000)),
        (((2_990, 98.9),), Goal(sparsity=0.97)),
        (((5, 0.0), (4_000_000, 100.0)), Goal(flash_budget=8_192)),
    ],
)
def test_all_points_are_inside_the_axes_and_the_axes_have_numbers(points, goal):
    (axes,) = plot_curve(result(points, goal), BASELINE).axes
    sizes, accuracies = zip(*points, strict=True)
    shown = [BASELINE, *accuracies]
    if goal.max_accuracy_drop is not None:
        shown.append(BASELINE - goal.max_accuracy_drop)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < min(sizes) and max(sizes) < right
    assert bottom < min(shown) and max(shown) < top
    assert all(left <= tick <= right for tick in axes.get_xticks())
    assert all(bottom <= tick <= top for tick in axes.get_yticks())
    assert 3 <= len(axes.get_xticks()) <= 10
    assert 3 <= len(axes.get_yticks()) <= 10


def test_ticks_are_labelled_with_full_byte_counts():
    (axes,) = plot_curve(result(TYPICAL, Goal(max_accuracy_drop=0.2)), BASELINE).axes
    assert "10,000" in [label.get_text() for label in axes.get_xticklabels()]


def test_a_search_for_few_cycles_is_drawn_against_cycles():
    picture = plot_curve(result(TYPICAL, Goal(cycle_budget=180_000), chosen=3), BASELINE)
    (axes,) = picture.axes
    left, right = axes.get_xlim()
    assert left < 60 * 1_234 and right > 60 * 10_050
    assert axes.get_xlabel() == "cycles per inference, estimated"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "budget: 180,000 cycles" in labels
    assert "chosen: 177,000 cycles, 98.77%" in labels


def test_trials_that_miss_the_goal_are_hollow_and_the_choice_is_labelled():
    picture = plot_curve(result(TYPICAL, Goal(max_accuracy_drop=0.2), chosen=3), BASELINE)
    (axes,) = picture.axes
    met, unmet, chosen = axes.collections
    assert met.get_offsets().tolist() == [[10_050, 99.02], [3_900, 98.93], [2_950, 98.77]]
    assert unmet.get_offsets().tolist() == [[2_600, 98.7], [1_234, 71.5]]
    assert unmet.get_facecolor().tolist() == [[1, 1, 1, 1]]
    assert chosen.get_label() == "chosen: 2,950 bytes, 98.77%"


def test_a_missing_matplotlib_is_reported_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        draw_curve(result(TYPICAL, Goal(sparsity=0.9)), BASELINE, tmp_path / "a.png")
