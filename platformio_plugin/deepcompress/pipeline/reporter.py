"""What the compiler reports while it runs, and to whom."""

from __future__ import annotations

from typing import Protocol

from deepcompress.escape import show
from deepcompress.frontend.frontend import ImportedLayer


class Reporter(Protocol):
    """Receives what happens, in the order in which it happens."""

    def stage(self, name: str, seconds: float) -> None:
        """A stage of the compiler has ended after this number of seconds."""

    def progress(self, line: str) -> None:
        """A line of text about a stage that takes long, such as an epoch of training."""

    def layer(self, layer: ImportedLayer) -> None:
        """A layer of the model file was read, supported or not."""


class SilentReporter:
    """Reports nothing; base class of reporters that need not receive everything."""

    def stage(self, name: str, seconds: float) -> None:
        pass

    def progress(self, line: str) -> None:
        pass

    def layer(self, layer: ImportedLayer) -> None:
        pass


class LineReporter(SilentReporter):
    """Prints progress, and if verbose the time of each stage, as lines on standard output."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose

    def stage(self, name: str, seconds: float) -> None:
        if self._verbose:
            self.progress(f"{name:<10} {1e3 * seconds:8.1f} ms")

    def progress(self, line: str) -> None:
        show(line)
