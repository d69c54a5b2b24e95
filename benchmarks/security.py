"""Opens every hostile file of tests/support/hostile with the real compiler, and prints what held.

    python benchmarks/security.py                    # make security
    python benchmarks/security.py --only "zip bombs" # the kinds or names with this text
    python benchmarks/security.py --update           # also the table in docs/security.md

A file is held if the compiler refuses it in one paragraph, or compiles it where it is valid, within
2 GiB of memory and 30 s, and no code of the file has run (it would create a file `pwned`). Memory
is that of all processes of the compiler, with shared pages counted once. Time is processor time, or
what has passed if that is more; on a machine that is busy otherwise, what has passed is divided by
the load. Exit status 1 if a file is not held.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "platformio_plugin")]

import hostile  # noqa: E402
from hostile import HostileFile  # noqa: E402
from readme import replace_part  # noqa: E402

MOST_MEMORY = 2 << 30
MOST_SECONDS = 30
_GIVE_UP_SECONDS = 300
_POLL_SECONDS = 0.03
_PAGE = ROOT / "docs" / "security.md"

# Runs the command line of the compiler once per line of stdin, in the folder of the file.
_WORKER = """
import io, json, os, sys, contextlib
from deepcompress.cli.main import main
import torch
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    os.chdir(request["folder"])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(request["arguments"])
        except SystemExit as error:
            code = error.code
    os.chdir("/")
    print(json.dumps([code, out.getvalue()[-4000:], err.getvalue()[-4000:]]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What happened with one file.

    Attributes:
        problem: why it is not held, or an empty text.
        memory: bytes, the peak of all processes.
        seconds: see the module's text.
        text: what the compiler printed.
    """

    file: HostileFile
    problem: str
    memory: int
    seconds: float
    text: str


class Worker:
    """A process of the compiler; started again after it has died, and after it has grown."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def compile(self, file: HostileFile, folder: Path, path: Path) -> Outcome:
        process = self._running()
        arguments = ["compile", str(path), "-o", str(folder / "out"), *flags(file)]
        process.stdin.write(json.dumps({"folder": str(folder), "arguments": arguments}) + "\n")
        process.stdin.flush()
        began, load = time.monotonic(), os.getloadavg()[0]
        before = cpu_seconds(process.pid)
        memory, cpu, passed = 0, 0.0, 0.0
        while not _has_line(process) and passed < _GIVE_UP_SECONDS:
            memory = max(memory, memory_of_tree(process.pid))
            cpu = max(cpu, cpu_seconds(process.pid) - before)
            passed = time.monotonic() - began
        answer = process.stdout.readline() if passed < _GIVE_UP_SECONDS else ""
        cpu = max(cpu, cpu_seconds(process.pid) - before)
        per_core = max((load + os.getloadavg()[0]) / 2 / (os.cpu_count() or 1), 1)
        seconds = max(cpu, (time.monotonic() - began) / per_core)
        code, out, err = json.loads(answer) if answer else (None, "", "the compiler itself died")
        problem = problem_of(file, folder, code, err, memory, seconds)
        if not answer:
            self.stop()
        return Outcome(file, problem, memory, seconds, out + err)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and memory_of_tree(self._process.pid) > MOST_MEMORY // 3:
            self.stop()
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT / "platformio_plugin")},
            )
            assert self._process.stdout.readline() == "ready\n"
        return self._process


def _has_line(process: subprocess.Popen[str]) -> bool:
    """Whether the process has answered or died, after a short wait."""
    import select

    return bool(select.select([process.stdout], [], [], _POLL_SECONDS)[0])


def flags(file: HostileFile) -> list[str]:
    """The options of a file as flags."""
    given: list[str] = []
    for name, value in file.options.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        given += [f"--{name.replace('_', '-')}", "yes" if value is True else text]
    return given


def problem_of(
    file: HostileFile, folder: Path, code: int | None, err: str, memory: int, seconds: float
) -> str:
    """Why a file is not held, or an empty text."""
    if (folder / "pwned").exists() or Path("/pwned").exists():
        return "code of the file ran"
    if code not in (0, 1):
        return f"exit status {code}: {err.strip()[-300:]}"
    if "(exit status" in err or "answer is not valid" in err:
        return f"a child that fails: {' '.join(err.split())[-300:]}"
    if "Traceback" in err or "internal error" in err:
        return f"a traceback: {err.strip()[-300:]}"
    if code == 1 and err.count("deepcompress: error:") != 1:
        return f"not one paragraph: {err.strip()[:300]}"
    if file.opens is not None and (code == 0) != file.opens:
        return "it is refused: " + " ".join(err.split())[:300] if code else "it compiles"
    if memory > MOST_MEMORY:
        return f"{memory / 2**30:.1f} GiB of memory"
    return f"{seconds:.0f} s" if seconds > MOST_SECONDS else ""


def tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for parent in found:
        try:
            threads = list(Path(f"/proc/{parent}/task").iterdir())
            for thread in threads:
                found += map(int, (thread / "children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
    return found


def memory_of_tree(pid: int) -> int:
    """Bytes in memory, with pages that processes share counted once."""
    return sum(_proportional(process) for process in tree(pid))


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, of those that it has started, and of those that have ended."""
    ticks = 0
    for process in tree(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def all_cases() -> Iterator[HostileFile]:
    """The files of all modules of tests/support/hostile."""
    for info in pkgutil.iter_modules(hostile.__path__):
        module = importlib.import_module(f"hostile.{info.name}")
        make: Callable[[], Iterator[HostileFile]] | None = getattr(module, "cases", None)
        yield from make() if make else ()


def try_file(file: HostileFile, worker: Worker) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="security-") as name:
        folder = Path(name)
        return worker.compile(file, folder, file.write(folder))


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """A row per kind, in Markdown."""
    rows = ["| kind | tried | held | most memory | most time |", "|---|---|---|---|---|"]
    kinds = list(dict.fromkeys(outcome.file.kind for outcome in outcomes))
    for kind in [*kinds, "all"]:
        of_kind = [o for o in outcomes if kind in (o.file.kind, "all")]
        held = sum(not outcome.problem for outcome in of_kind)
        large = max(of_kind, key=lambda o: o.memory)
        slow = max(of_kind, key=lambda o: o.seconds)
        rows.append(
            f"| {kind} | {len(of_kind)} | {held} | {large.memory >> 20:,} MB: {large.file.name} | "
            f"{slow.seconds:.1f} s: {slow.file.name} |"
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="kinds or names with this text")
    parser.add_argument("--update", action="store_true", help="write the table in docs/security.md")
    parser.add_argument("--verbose", action="store_true", help="print what the compiler prints")
    parsed = parser.parse_args()
    files = [f for f in all_cases() if parsed.only in f"{f.kind}: {f.name}"]
    worker, outcomes = Worker(), []
    for number, file in enumerate(files, start=1):
        outcome = try_file(file, worker)
        outcomes.append(outcome)
        state = f"NOT HELD, {outcome.problem}" if outcome.problem else "held"
        print(
            f"{number:4}/{len(files)}  {outcome.memory >> 20:5} MB {outcome.seconds:5.1f} s  "
            f"{file.kind}: {file.name}: {state}",
            flush=True,
        )
        if parsed.verbose:
            print(outcome.text, flush=True)
    worker.stop()
    rows = table(outcomes)
    print("", *rows, sep="\n")
    if parsed.update:
        replace_part("hostile files", "\n".join(rows), page=_PAGE)
    return int(any(outcome.problem for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
