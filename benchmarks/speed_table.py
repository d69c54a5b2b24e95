"""Prints the rows of the speed benchmark: on the terminal, and as the tables of README.md."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import TYPE_CHECKING

from deepcompress.report.text_table import columns
from readme import paragraph
from workloads import LENET, SHAPES

if TYPE_CHECKING:
    from speed import Row

DENSE = "DeepCompress, dense"
FAST = "DeepCompress, pruned as far as accuracy allows"
CPU = "cortex-m4"
REFERENCES = ("CMSIS-NN 4.0.0", "CMSIS-NN main")
MVE_AND_DSP = ("cortex-m55", "cortex-m33")
SHOWN_SPARSITIES = (0.8, 0.9)

NOTE = """\
Cycles are modelled at zero wait states, with gcc -O2. In brackets: the ratio to CMSIS-NN, Arm's
kernel library: {reference}. A MAC is a multiplication and an addition; dense MACs include zero
weights, but not removed channels. Code: all functions linked for the network. "Ours" is
DeepCompress with `optimize = speed`. The layers of the second table are from MLPerf Tiny, a
benchmark for microcontrollers, with ReLU and random weights pruned by magnitude. "Sparse wins
from": the sparsity above which our sparse kernel is faster than our dense one
([curves](docs/speed.png)). "MVE / DSP": instructions of our dense kernel on Cortex-M55 (MVE,
vector instructions), divided by those on Cortex-M33 (DSP). Unlu's float loops (arXiv
2007.01348) and the paper's sparse loops (arXiv 2103.15972) are re-implemented in
`examples/lenet5_mnist/float` and `benchmarks/peers`. All outputs are checked; ours equal the
integer reference. `make bench` measures again."""
RELEASE_ONLY = "release 4.0.0 as contained in PyPI's bakenn"
FASTER = "release 4.0.0 or main of July 2026 (99f736a6), whichever is faster"


def find(rows: Sequence[Row], implementation: str, workload: str, cpu: str = CPU) -> Row | None:
    key = (implementation, workload, cpu)
    return next((r for r in rows if (r.implementation, r.workload, r.cpu) == key), None)


def reference(rows: Sequence[Row], workload: str, cpu: str = CPU) -> Row | None:
    """The row that others are compared with: the faster version of CMSIS-NN."""
    found = [row for name in REFERENCES if (row := find(rows, name, workload, cpu))]
    return min(found, key=cost, default=None)


def cost(row: Row) -> int:
    """Cycles, or instructions on a CPU whose cycles are not known."""
    return row.instructions if row.cycles is None else row.cycles


def ratio(row: Row | None, to: Row | None) -> float | None:
    return cost(row) / cost(to) if row and to else None


def sparse_name(sparsity: float) -> str:
    return f"DeepCompress, {sparsity:.0%} sparse"


def sparse_curve(rows: Sequence[Row], shape: str) -> list[Row]:
    """A layer at all sparsities, in the encoding selected at 80%; sparsest last."""
    chosen = find(rows, sparse_name(0.8), shape)
    points = [r for r in rows if r.workload == shape and r.sparsity is not None]
    points = [r for r in points if chosen and r.encoding == chosen.encoding]
    return sorted(points, key=lambda row: row.sparsity)


def crossover(curve: Sequence[Row], dense: Row) -> float | None:
    """The sparsity above which sparse is faster, by linear interpolation between two points.

    The least measured sparsity if sparse is always faster, None if it never is.
    """
    above = None
    for row in reversed(curve):
        if row.cycles >= dense.cycles:
            if above is None:
                return None
            share = (row.cycles - dense.cycles) / (row.cycles - above.cycles)
            return row.sparsity + share * (above.sparsity - row.sparsity)
        above = row
    return above.sparsity if above else None


def geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(map(log, values)) / len(values))


def shape_ratios(rows: Sequence[Row], implementation: str) -> list[float]:
    """The ratio of cycles to those of the reference, for each layer that both have."""
    ratios = (ratio(find(rows, implementation, s), reference(rows, s)) for s in SHAPES)
    return [value for value in ratios if value is not None]


# --- on the terminal


def workload_lines(rows: Sequence[Row]) -> list[str]:
    """All implementations of one workload, CPU by CPU."""
    heads = [
        "cycles",
        "per MAC",
        "of CMSIS-NN",
        "of our dense",
        "instructions",
        "code B",
        "flash B",
    ]
    right = tuple(range(1, len(heads) + 1))
    lines = []
    for workload, cpu in dict.fromkeys((row.workload, row.cpu) for row in rows):
        peers = (reference(rows, workload, cpu), find(rows, DENSE, workload, cpu))
        cells = [[f"{workload}, {cpu}", *heads]]
        for row in rows:
            if row.cpu == cpu:
                cycles = ("", "")
                if row.cycles is not None:
                    cycles = (f"{row.cycles:,}", f"{row.cycles / row.macs:.2f}")
                ratios = ("" if to is None else f"{ratio(row, to):.3f}" for to in peers)
                sizes = (f"{n:,}" for n in (row.instructions, row.code_bytes, row.flash_bytes))
                name = row.implementation + ("" if row.exact else " WRONG")
                cells.append([name, *cycles, *ratios, *sizes])
        lines += [*columns(cells, right=right), ""]
    return lines


def summary(rows: Sequence[Row]) -> list[str]:
    """The geometric means over the layers, and the worst of each."""
    lines = [["eight layers, cycles of CMSIS-NN's", "geometric mean", "least", "most"]]
    names = dict.fromkeys(row.implementation for row in rows if row.workload in SHAPES)
    for name in names:
        ratios = shape_ratios(rows, name)
        if len(ratios) == len(SHAPES):
            values = (geometric_mean(ratios), min(ratios), max(ratios))
            lines.append([name, *(f"{value:.3f}" for value in values)])
    return columns(lines, right=tuple(range(1, len(lines[0]))))


# --- in README.md


def readme_part(rows: Sequence[Row]) -> str:
    both = all(find(rows, name, LENET) for name in REFERENCES)
    note = NOTE.format(reference=FASTER if both else RELEASE_ONLY)
    tables = (lenet_table(rows), layers_table(rows), cpus_table(rows))
    return "\n\n".join((paragraph(note), *map(markdown, tables)))


def markdown(lines: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(lines[0]) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def lenet_table(rows: Sequence[Row]) -> list[list[str]]:
    lines = [["LeNet-5, Cortex-M4", "cycles", "per dense MAC", "code"]]
    to = reference(rows, LENET)
    for row in rows:
        if (row.workload, row.cpu) == (LENET, CPU):
            cycles = f"{row.cycles:,}{bracket(ratio(row, to))}"
            per_mac = f"{row.cycles / row.macs:.2f}"
            lines.append([row.implementation, cycles, per_mac, f"{row.code_bytes:,} B"])
    return lines


def layers_table(rows: Sequence[Row]) -> list[list[str]]:
    """Cycles per dense MAC of each layer."""
    names = [DENSE, *(sparse_name(s) for s in SHOWN_SPARSITIES)]
    heads = ["cycles per MAC, Cortex-M4", "CMSIS-NN", "ours, dense"]
    heads += [f"{s:.0%} sparse" for s in SHOWN_SPARSITIES]
    lines = [[*heads, "sparse wins from", "MVE / DSP"]]
    for shape in SHAPES:
        to, dense = reference(rows, shape), find(rows, DENSE, shape)
        cells = [per_mac(row, to) for row in (find(rows, name, shape) for name in names)]
        reached = crossover(sparse_curve(rows, shape), dense)
        from_text = sparsity_text(reached, rows, shape)
        lines.append([shape, per_mac(to, None), *cells, from_text, f"{mve_share(rows, shape):.2f}"])
    means = [shape_ratios(rows, name) for name in names]
    cells = [bracket(geometric_mean(ratios)).strip() if ratios else "" for ratios in means]
    mve = geometric_mean([mve_share(rows, shape) for shape in SHAPES])
    return [*lines, ["geometric mean", "", *cells, "", f"{mve:.2f}"]]


def mve_share(rows: Sequence[Row], shape: str) -> float:
    """The ratio of instructions of our dense kernel: with MVE to with the DSP extension."""
    mve, dsp = (find(rows, DENSE, shape, cpu) for cpu in MVE_AND_DSP)
    return mve.instructions / dsp.instructions


def sparsity_text(reached: float | None, rows: Sequence[Row], shape: str) -> str:
    if reached is None:
        return "never"
    least = sparse_curve(rows, shape)[0].sparsity
    return f"below {least:.0%}" if reached == least else f"{reached:.0%}"


def cpus_table(rows: Sequence[Row]) -> list[list[str]]:
    """LeNet-5 on each CPU."""
    names = ("float, Unlu's loops", DENSE, sparse_name(0.8), FAST)
    heads = ["LeNet-5, cycles", "CMSIS-NN", "float", "ours, dense", "80% sparse", "pruned further"]
    lines = [heads]
    for cpu in sorted({row.cpu for row in rows if row.workload == LENET}):
        to = reference(rows, LENET, cpu)
        cells = [
            f"{row.cycles:,}{bracket(ratio(row, to))}" if row else ""
            for row in (find(rows, name, LENET, cpu) for name in names)
        ]
        lines.append([cpu, f"{to.cycles:,}" if to else "", *cells])
    return lines


def per_mac(row: Row | None, to: Row | None) -> str:
    return f"{row.cycles / row.macs:.2f}{bracket(ratio(row, to))}" if row else ""


def bracket(value: float | None) -> str:
    return "" if value is None else f" ({value:.2f})" if value >= 0.1 else f" ({value:.3f})"
