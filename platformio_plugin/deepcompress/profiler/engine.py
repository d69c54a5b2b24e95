"""What a profile asks for, and the interface of the engines that run a firmware and count calls."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from deepcompress.profiler.call_tree import CallNode
from deepcompress.profiler.elf import Firmware
from deepcompress.target.core import Cpu

CLOCK_HZ = 100_000_000  # of the firmware's clock() if the board's is not known


@dataclass(frozen=True)
class Request:
    """What to run of a firmware, and what to count.

    Attributes:
        cpu: such as "cortex-m4"; None: what the ELF's build attributes say.
        function: what counts as an inference: a name, or a pattern as in a shell. An inference
            called by another is part of it.
        calls: stop after this many inferences; None: when the firmware exits.
        alone: call each inference once on zeros instead of running the firmware, as if it had
            started: on a real board's firmware, start-up and sketch wait for peripherals forever.
            RAM has its initial data, and each argument points to 256 KB of zeros.
        folder: the files that the firmware can open; None: the working directory.
        console: where the firmware's output goes.
        clock_hz: converts cycles to milliseconds, and is the firmware's own clock.
        wait_states: cycles that flash takes beyond the first for a line of 16 bytes. There is no
            prefetch and no cache: a chip that has them is faster.
        flash_reads: count the bytes loaded from flash, constants and literals; slower.
        unaligned: count the extra cycles of unaligned words; slower.
        instruction_limit: fail after this many instructions.
    """

    cpu: str | None = None
    function: str = "*_infer_*"
    calls: int | None = None
    alone: bool = False
    folder: Path | None = None
    console: IO[bytes] = field(default_factory=io.BytesIO)
    clock_hz: int | None = None
    wait_states: int = 0
    flash_reads: bool = False
    unaligned: bool = False
    instruction_limit: int = 2_000_000_000


@dataclass(frozen=True)
class Trace:
    """Attributes: `inferences` in order of time; `exit_code` is None if `calls` stopped the run."""

    inferences: tuple[CallNode, ...]
    exit_code: int | None


class Engine(Protocol):
    """Runs firmware. `counts_cycles` is False if an engine knows instructions only."""

    @property
    def counts_cycles(self) -> bool: ...

    def model(self, cpu: Cpu) -> tuple[str, str]:
        """Where the numbers come from, and what they leave out: two phrases."""

    def trace(
        self, firmware: Firmware, cpu: Cpu, inferences: frozenset[int], request: Request
    ) -> Trace:
        """Runs the firmware and counts the calls of its inferences.

        Args:
            inferences: addresses of the functions whose calls are kept separate.

        Raises:
            UserError: the engine cannot count what the request asks for, or the firmware faults,
                sleeps, or does not end within the limit.
        """
