"""Counts the instructions of a firmware that QEMU runs: for cores that unicorn does not know.

QEMU can log the address of each instruction as it runs it (-singlestep -d exec,nochain). That order
of addresses is all there is: a call is told by its function's first address, a return by coming
back into the middle of a function that is under way. Cycles and stack are not known.
"""

from __future__ import annotations

import re
import select
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deepcompress.errors import UserError
from deepcompress.profiler.call_tree import Call
from deepcompress.profiler.elf import Firmware, Function, read_firmware
from deepcompress.profiler.unicorn_runner import Limits, Trace
from deepcompress.target.core import Cpu

# A machine with such a core, by family: those of platforms/virtual.
MACHINES = {
    "m0": "microbit",
    "m3": "mps2-an385",
    "m4": "mps2-an386",
    "m7": "mps2-an500",
    "m33": "mps2-an505",
    "m55": "mps3-an547",
}
SOURCE = "instructions as QEMU runs them; Arm publishes no timing of this core"
LIMITS = "instructions are not cycles: most vector instructions of this core take two"

_QEMU = "qemu-system-arm"
_SILENCE_SECONDS = 30.0  # in which a firmware that runs would have run something
_CHUNK = 1 << 20
_ADDRESS = re.compile(rb"^Trace \d+: \w+ \[\w+/(\w+)/", re.MULTILINE)
_COMPLAINT = re.compile(rb"^qemu.*", re.MULTILINE)


def count_instructions(elf: Path, cpu: Cpu, *, folder: Path | None = None) -> dict[str, int]:
    """Instructions that each function runs from reset to exit, without what it calls.

    Args:
        elf: linked for QEMU's machine with this core, see `MACHINES`.
        folder: the files that the firmware sees; by default the working directory.

    Raises:
        UserError: not a firmware, no QEMU, or it does not end by itself.
    """
    firmware = read_firmware(elf)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryFile() as console:
        run = _Run(firmware, cpu, folder or Path.cwd(), console)
        for address, times in Counter(run.addresses()).items():
            counts[firmware.function_at(address).name] += times
    return dict(counts)


def trace(
    firmware: Firmware,
    cpu: Cpu,
    *,
    inferences: frozenset[int],
    folder: Path,
    console: IO[bytes],
    limits: Limits,
) -> Trace:
    """The calls of inferences, with instructions alone; arguments and errors as for `simulate`."""
    with tempfile.TemporaryFile() as output:
        run = _Run(firmware, cpu, folder, output)
        calls = _Calls(firmware, inferences)
        left = limits.instructions
        with closing(run.addresses()) as addresses:
            for address in addresses:
                calls.follow(address)
                left -= 1
                if left < 0:
                    raise run.failed(f"it did not end within {limits.instructions:,} instructions")
                if calls.finished == limits.inferences:
                    break
        output.seek(0)
        shutil.copyfileobj(output, console)
        console.flush()
    return Trace(tuple(calls.inferences), run.exit_code)


@dataclass
class _Run:
    """One run in QEMU. `exit_code` is None until it has ended by itself."""

    firmware: Firmware
    cpu: Cpu
    folder: Path
    console: IO[bytes]
    exit_code: int | None = None

    def addresses(self) -> Iterator[int]:
        """Of each instruction, in the order in which they run."""
        process = self._start()
        lines = rest = b""
        try:
            while chunk := self._read(process.stderr):
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                for address in _ADDRESS.findall(lines + newline):
                    yield int(address, 16)
            self.exit_code = process.wait()
        finally:
            process.kill()
            process.wait()
        if self.exit_code < 0:
            told = _COMPLAINT.search(lines + rest)
            why = told[0].decode(errors="replace") if told else f"signal {-self.exit_code}"
            raise self.failed(f"QEMU gave up ({why})")

    def _start(self) -> subprocess.Popen[bytes]:
        machine = MACHINES.get(self.cpu.family)
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

    def _read(self, log: IO[bytes]) -> bytes:
        if not select.select([log], [], [], _SILENCE_SECONDS)[0]:
            raise self.failed("it sleeps, or waits for something that never comes")
        return log.read1(_CHUNK)

    def failed(self, what: str) -> UserError:
        return UserError(
            what,
            f"firmware {self.firmware.path}",
            "See that it runs on the virtual board of this core, and ends by itself, or stop it "
            "after so many inferences (--calls)",
        )


@dataclass
class _Calls:
    """The calls under way, innermost last: none outside of an inference."""

    firmware: Firmware
    targets: frozenset[int]
    inferences: list[Call] = field(default_factory=list)
    finished: int = 0
    _under_way: list[Call] = field(default_factory=list)
    _functions: dict[int, Function] = field(default_factory=dict)

    def follow(self, address: int) -> None:
        """One instruction."""
        function = self._functions.get(address)
        if function is None:
            function = self._functions[address] = self.firmware.function_at(address)
        if not self._under_way or self._under_way[-1].function is not function:
            self._change(function, enters=address == function.address)
        if self._under_way:
            self._under_way[-1].instructions += 1

    def _change(self, function: Function, *, enters: bool) -> None:
        if enters:
            self._enter(function)
            return
        while self._under_way and self._under_way[-1].function is not function:
            self._under_way.pop()
            if not self._under_way:
                self.finished += 1

    def _enter(self, function: Function) -> None:
        if self._under_way:
            callees = self._under_way[-1].callees
            call = callees.setdefault(function.address, Call(function))
        elif function.address in self.targets:
            call = Call(function)
            self.inferences.append(call)
        else:
            return
        call.calls += 1
        self._under_way.append(call)
