"""The engine for cores that unicorn cannot run: counts instructions in QEMU's log.

QEMU can log the address of each instruction that runs (-singlestep -d exec,nochain). The order of
addresses is all the information there is: a call is recognized by the first address of a function,
a return by an address in the middle of a function that has not returned. Cycles and stack are
unknown.
"""

from __future__ import annotations

import re
import select
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from deepcompress.errors import UserError
from deepcompress.profiler.call_tree import CallNode
from deepcompress.profiler.elf import Firmware, FunctionSymbol, read_firmware
from deepcompress.profiler.engine import Request, Trace
from deepcompress.target.core import Cpu

SOURCE = "instructions as QEMU runs them; Arm publishes no timing of this core"
LIMITS = "instructions are not cycles: most vector instructions of this core take two"

_QEMU = "qemu-system-arm"
_SILENCE_SECONDS = 30.0  # a firmware that logs nothing for so long is sleeping
_CHUNK = 1 << 20
_ADDRESS = re.compile(rb"^Trace \d+: \w+ \[\w+/(\w+)/", re.MULTILINE)
_COMPLAINT = re.compile(rb"^qemu.*", re.MULTILINE)


def count_instructions(elf: Path, cpu: Cpu, *, folder: Path | None = None) -> dict[str, int]:
    """Instructions that each function runs from reset to exit, excluding its callees.

    Args:
        elf: linked for QEMU's machine with this core, see `Cpu.qemu_machine`.
        folder: the files that the firmware can open; by default the working directory.

    Raises:
        UserError: it is not a firmware, does not end by itself, or QEMU is missing.
    """
    firmware = read_firmware(elf)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryFile() as console:
        run = _Run(firmware, cpu, folder or Path.cwd(), console)
        for address, times in Counter(run.addresses()).items():
            counts[firmware.function_at(address).name] += times
    return dict(counts)


class _QemuEngine:
    """See `Engine`: instructions only, of a run from reset."""

    counts_cycles = False

    def model(self, cpu: Cpu) -> tuple[str, str]:
        return SOURCE, LIMITS

    def trace(
        self, firmware: Firmware, cpu: Cpu, inferences: frozenset[int], request: Request
    ) -> Trace:
        if request.alone or request.wait_states or request.flash_reads or request.unaligned:
            raise UserError(
                f"of a {cpu.name} only instructions are known, and only of a run from its reset",
                "options --alone, --wait-states, --flash-reads, --unaligned",
                "Leave them out, and profile a build for the virtual board of this core",
            )
        with tempfile.TemporaryFile() as output:
            run = _Run(firmware, cpu, request.folder or Path.cwd(), output)
            log = _CallLog(firmware, inferences)
            with closing(run.addresses()) as addresses:
                for count, address in enumerate(addresses):
                    if count == request.instruction_limit:
                        raise run.failed(f"it did not end within {count:,} instructions")
                    log.follow(address)
                    if log.finished == request.calls:
                        break
            output.seek(0)
            shutil.copyfileobj(output, request.console)
            request.console.flush()
        return Trace(tuple(log.inferences), run.exit_code)


QEMU_ENGINE = _QemuEngine()


@dataclass
class _Run:
    """One run in QEMU. `exit_code` is None until it has ended by itself."""

    firmware: Firmware
    cpu: Cpu
    folder: Path
    console: IO[bytes]
    exit_code: int | None = None

    def addresses(self) -> Generator[int, None, None]:
        """The address of each instruction, in the order in which they run."""
        process = self._start()
        log = cast(BufferedReader, process.stderr)
        lines = rest = b""
        try:
            while chunk := self._read(log):
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                for address in _ADDRESS.findall(lines + newline):
                    yield int(address, 16)
            self.exit_code = process.wait()
        finally:
            process.kill()
            process.wait()
        if self.exit_code < 0:
            complaint = _COMPLAINT.search(lines + rest)
            signal = f"signal {-self.exit_code}"
            why = complaint[0].decode(errors="replace") if complaint else signal
            raise self.failed(f"QEMU failed ({why})")

    def _start(self) -> subprocess.Popen[bytes]:
        machine = self.cpu.qemu_machine
        if machine is None:
            raise self.failed(f"QEMU has no machine with a {self.cpu.name}")
        quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
        log = ["-singlestep", "-d", "exec,nochain", "-D", "/dev/stderr"]
        semihosting = ["-semihosting-config", "enable=on,target=native"]
        command = [_QEMU, "-M", machine, *quiet, *log, *semihosting]
        try:
            return subprocess.Popen(
                [*command, "-kernel", str(self.firmware.path.resolve())],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=self.console,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            raise UserError(
                f"counting a {self.cpu.name}'s instructions needs QEMU, which is not installed",
                "deepcompress profile",
                f"Install {_QEMU}; on Debian or Ubuntu: sudo apt-get install {_QEMU}",
            ) from None

    def _read(self, log: BufferedReader) -> bytes:
        if not select.select([log], [], [], _SILENCE_SECONDS)[0]:
            raise self.failed("it sleeps, or waits for an event that never occurs")
        return log.read1(_CHUNK)

    def failed(self, what: str) -> UserError:
        return UserError(
            what,
            f"firmware {self.firmware.path}",
            "Check that it runs on the virtual board of this core and ends by itself, or stop it "
            "after some inferences (--calls)",
        )


@dataclass
class _CallLog:
    """The calls that have not returned, innermost last: none outside an inference."""

    firmware: Firmware
    targets: frozenset[int]
    inferences: list[CallNode] = field(default_factory=list)
    finished: int = 0
    _open: list[CallNode] = field(default_factory=list)
    _functions: dict[int, FunctionSymbol] = field(default_factory=dict)

    def follow(self, address: int) -> None:
        """One instruction."""
        function = self._functions.get(address)
        if function is None:
            function = self._functions[address] = self.firmware.function_at(address)
        if not self._open or self._open[-1].function is not function:
            self._change(function, enters=address == function.address)
        if self._open:
            self._open[-1].instructions += 1

    def _change(self, function: FunctionSymbol, *, enters: bool) -> None:
        if enters:
            self._enter(function)
            return
        while self._open and self._open[-1].function is not function:
            self._open.pop()
            if not self._open:
                self.finished += 1

    def _enter(self, function: FunctionSymbol) -> None:
        if self._open:
            callees = self._open[-1].callees
            call = callees.setdefault(function.address, CallNode(function))
        elif function.address in self.targets:
            call = CallNode(function)
            self.inferences.append(call)
        else:
            return
        call.calls += 1
        self._open.append(call)
