"""Finds out whether a model will run and fit, without compiling it: `deepcompress check`.

The stages are those of `compile`, up to the plan and its report. If a layer is not supported, or
the network is far too large, there is no plan; sizes are then estimated from the layers alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcompress.compile import as_stream, flash_at, needs_at, open_model
from deepcompress.errors import UserError
from deepcompress.frontend.frontend import ImportedLayer
from deepcompress.options import SPELLINGS, Options, Target
from deepcompress.pipeline.graph_to_plan import graph_to_plan
from deepcompress.pipeline.reporter import SilentReporter
from deepcompress.pipeline.runner import Instrument
from deepcompress.report.board_fit import check_possible, misfits
from deepcompress.report.budgets import over_budget
from deepcompress.report.html import duration, share
from deepcompress.report.summary import summarize
from deepcompress.report.text_table import columns

# More weights than this are not encoded for their size: it would take longer than a minute.
_MANY = 8_000_000
_WIDTH = 100


@dataclass(frozen=True)
class Survey:
    """The result of `survey`.

    Attributes:
        layers: all layers of the network, supported or not.
        facts: the report that compiling it would give, or None if there is no plan.
        problems: why it cannot be compiled for its board; empty if it can.
        stand_in: whether random inputs were used instead of calibration data.
    """

    layers: tuple[ImportedLayer, ...]
    facts: dict[str, Any] | None
    problems: tuple[UserError, ...]
    stand_in: bool = False


class _Layers(SilentReporter):
    """Keeps the layers that an import reports; shows progress before the survey."""

    def __init__(self) -> None:
        self.layers: list[ImportedLayer] = []

    def layer(self, layer: ImportedLayer) -> None:
        self.layers.append(layer)

    def progress(self, line: str) -> None:
        print(line, flush=True)


def survey(path: Path, *, options: Options, instruments: Sequence[Instrument] = ()) -> Survey:
    """Lists the layers of a model file, its needs on a board, and all problems at once.

    Raises:
        UserError: it is not a model, its options are wrong, or torch cannot export it.
    """
    imported = _Layers()
    layers = imported.layers
    try:
        opened = open_model(
            path, name=path.stem, options=options, reporter=imported, instruments=instruments
        )
        graph = as_stream(opened.graph, opened.calibration, options)
        check_possible(graph, options)
        if sum(layer.parameters for layer in layers) > _MANY:
            return Survey(tuple(layers), None, ())
        _, planned = graph_to_plan(graph, opened.calibration, options, instruments)
    except UserError as problem:
        if not layers:
            raise
        return Survey(tuple(layers), None, _unsupported(layers) or (problem,))
    facts = summarize(planned, source=path.name, target=options.target, accuracy=None)
    calibration = opened.calibration
    problems = list(
        misfits(facts, lambda sparsity: flash_at(sparsity, graph, calibration, options))
    )
    if not options.retrain:  # which may reach the budgets
        problems += over_budget(
            facts, options, lambda sparsity: needs_at(sparsity, graph, calibration, options)
        )
    return Survey(tuple(layers), facts, tuple(problems), calibration.synthetic)


def _unsupported(layers: list[ImportedLayer]) -> tuple[UserError, ...]:
    """The layers' problems; one per reason, for the first layer that has it."""
    alike: dict[tuple[str, str], list[UserError]] = {}
    for problem in (layer.problem for layer in layers if layer.problem):
        alike.setdefault(_reason(problem), []).append(problem)
    return tuple(
        UserError(what, same[0].where + (f", and {len(same) - 1} more" if same[1:] else ""), do)
        for (what, do), same in alike.items()
    )


def _reason(problem: UserError) -> tuple[str, str]:
    return problem.what, problem.do


def draw_survey(found: Survey, target: Target, notes: Sequence[str] = ()) -> str:
    """The survey as text; each of the notes is a paragraph of its own."""
    numbers = {_reason(problem): i for i, problem in enumerate(found.problems, start=1)}
    sizes = {layer["name"]: layer["flash_bytes"] for layer in (found.facts or {}).get("layers", ())}
    rows = [
        [
            layer.name,
            layer.op,
            "x".join(map(str, layer.output_shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{flash:,}" if (flash := sum(sizes.get(name, 0) for name in layer.nodes)) else "",
            f"no ({numbers[_reason(layer.problem)]})" if layer.problem else "yes",
        ]
        for layer in found.layers
    ]
    heads = ["layer", "operator", "output", "parameters", "flash B", "supported"]
    lines = [*columns([heads, *rows], right=(3, 4)), ""]
    lines += _estimates(found, target)
    lines += [_wrapped("note      ", note) for note in notes]
    for i, problem in enumerate(found.problems, start=1):
        lines.append(_wrapped(f"{f'({i})':<10}", problem.paragraph(SPELLINGS["flags"])))
    return "\n".join(lines)


def _estimates(found: Survey, target: Target) -> list[str]:
    facts = found.facts
    if facts is None:
        weights = sum(layer.parameters for layer in found.layers)
        values = max(layer.values for layer in found.layers)
        return [
            f"flash     {weights:,} B of int8 parameters{_compared(weights, target.flash_limit)}",
            f"RAM       about {values:,} B for the largest layer"
            f"{_compared(values, target.ram_limit)}",
            "note      weights are not encoded here: pruning may need less flash, code adds some",
        ]
    flash, ram = (
        f"about {facts[memory]['total_bytes']:,} B"
        f"{_compared(facts[memory]['total_bytes'], facts[memory]['limit_bytes'])}"
        for memory in ("flash", "ram")
    )
    lines = [
        f"flash     {flash}",
        f"RAM       {ram}",
        f"cycles    about {facts['cycles']:,} on {target.cpu}{duration(facts, 1)}",
    ]
    if found.stand_in:
        note = (
            "without calibration data, random inputs were used. Sizes and cycles hardly depend on "
            "them, but set --calibration to real inputs before you compile"
        )
        lines.append(_wrapped("note      ", note))
    return lines


def _compared(needed: int, limit: int | None) -> str:
    if limit is None:
        return ""
    verdict = "fits" if needed <= limit else "DOES NOT FIT"
    return f"; {share({'total_bytes': needed, 'limit_bytes': limit})}: {verdict}"


def _wrapped(head: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
