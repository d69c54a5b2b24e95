"""The chart of the speed benchmark: cycles against sparsity, one panel per layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speed_table import DENSE, crossover, find, reference, sparse_curve
from workloads import SHAPES

if TYPE_CHECKING:
    from speed import Row

COLUMNS = 4


def draw(rows: Sequence[Row], path: Path) -> None:
    """Writes the chart as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        -(-len(SHAPES) // COLUMNS), COLUMNS, figsize=(12, 5.2), layout="constrained"
    )
    for shape, panel in zip(SHAPES, panels.flat, strict=True):
        draw_layer(rows, shape, panel)
    figure.supxlabel("sparsity, %")
    figure.supylabel("cycles per dense MAC, Cortex-M4")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    # Without the program's version, so that the same numbers give the same file.
    figure.savefig(path, dpi=72, metadata={"Software": None}, pil_kwargs={"optimize": True})
    pyplot.close(figure)


def draw_layer(rows: Sequence[Row], shape: str, panel: object) -> None:
    """Our sparse kernel, and our dense one and CMSIS-NN as horizontal lines."""
    dense, curve, to = find(rows, DENSE, shape), sparse_curve(rows, shape), reference(rows, shape)
    if to:
        panel.axhline(to.cycles / to.macs, color="gray", linestyle="--", label="CMSIS-NN, dense")
    panel.axhline(dense.cycles / dense.macs, color="tab:blue", label="ours, dense")
    panel.plot(
        [100 * row.sparsity for row in curve],
        [row.cycles / row.macs for row in curve],
        color="tab:orange",
        marker=".",
        label="ours, sparse",
    )
    reached = crossover(curve, dense)
    if reached is not None and reached > curve[0].sparsity:
        place = (100 * reached, dense.cycles / dense.macs)
        panel.plot(*place, "ko", fillstyle="none")
        panel.annotate(f"{reached:.0%}", place, textcoords="offset points", xytext=(4, 6))
    panel.set_title(shape, fontsize="medium")
    panel.set_xlim(15, 100)
    panel.set_ylim(0, 1.15 * panel.get_ylim()[1])
