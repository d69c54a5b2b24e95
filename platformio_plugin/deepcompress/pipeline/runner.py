"""Runs a list of passes, and the instruments that watch them: times, verification, text dumps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import deepcompress.pipeline.text_of_plan  # noqa: F401, registers the text forms of plans
from deepcompress.errors import UserError
from deepcompress.file_write import replace_file
from deepcompress.ir.spec import Rule, Stage, check
from deepcompress.ir.text import text
from deepcompress.pipeline.reporter import Reporter
from deepcompress.pipeline.specification import SPECIFICATION


@dataclass(frozen=True)
class Pass:
    """One step from a value to the next.

    Attributes:
        name: as reports and the names of dumped files have it.
        function: makes the new value, and leaves the given one as it is.
        stage_in, stage_out: what the function takes and returns.
        ensures: compares the new value with the one before, in every run of the compiler; raises
            AssertionError for a defect of ours, or UserError if the network exceeds a limit.
    """

    name: str
    function: Callable[[Any], Any]
    stage_in: Stage
    stage_out: Stage
    ensures: Callable[[Any, Any], None] = lambda before, after: None


class Instrument:
    """Watches a run of passes without changing its values."""

    def before(self, step: Pass) -> None:
        """A pass is about to run."""

    def after(self, step: Pass, value: Any) -> None:
        """A pass has returned a value."""


def run(passes: Sequence[Pass], value: Any, instruments: Iterable[Instrument] = ()) -> Any:
    """The last pass's value, where each pass takes the value of the one before.

    Raises:
        ValueError: a pass does not take what the one before it returns.
    """
    for one, other in pairwise(passes):
        if one.stage_out is not other.stage_in:
            raise ValueError(
                f"{other.name} takes a {other.stage_in.value} graph, but {one.name} returns a "
                f"{one.stage_out.value} graph"
            )
    for step in passes:
        for instrument in instruments:
            instrument.before(step)
        before, value = value, step.function(value)
        step.ensures(before, value)
        for instrument in instruments:
            instrument.after(step, value)
    return value


class Timing(Instrument):
    """Reports how long each pass took, its `ensures` included."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._began = perf_counter()

    def before(self, step: Pass) -> None:
        self._began = perf_counter()

    def after(self, step: Pass, value: Any) -> None:
        self._reporter.stage(step.name, perf_counter() - self._began)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Reports the time of a stage that is no pass, such as reading data."""
        began = perf_counter()
        yield
        self._reporter.stage(name, perf_counter() - began)


class Verify(Instrument):
    """Checks each value against the specification; raises SpecificationError at a violation."""

    def __init__(self, rules: Iterable[Rule] = SPECIFICATION) -> None:
        self._rules = tuple(rules)

    def after(self, step: Pass, value: Any) -> None:
        check(value, step.stage_out, self._rules, after=step.name)


class DumpIr(Instrument):
    """Writes the text of each value to a folder: 01_import.txt, 02_fuse.txt, ..."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def after(self, step: Pass, value: Any) -> None:
        self._count += 1
        path = self._folder / f"{self._count:02}_{step.name}.txt"
        try:
            replace_file(path, text(value).encode())
        except OSError as error:
            raise UserError(
                f"it cannot be written ({error.strerror})",
                f"file {path}",
                "Name a folder that can be written in --dump-ir",
            ) from None
