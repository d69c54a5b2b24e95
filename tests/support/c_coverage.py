"""Line coverage of include/ by the C programs that tests build: gcov of a second build of each.

Off unless the environment variable `DEEPCOMPRESS_C_COVERAGE` names a folder. Then `build` compiles
the program again without sanitizers and with --coverage, `record` runs that build on the same
inputs, and `write` leaves the counts of this process in the folder. tools/coverage.py adds them up.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "DEEPCOMPRESS_C_COVERAGE"
INCLUDE = Path(__file__).parents[2] / "include"
FLAGS = (
    *("-O0", "--coverage"),
    "-Dalways_inline=unused",  # gcov loses the lines of functions that are always inlined
    *("-fkeep-static-functions", "-fkeep-inline-functions"),  # lines never called count as missed
)

_counts: dict[str, Counter[int]] = {}


def build(sources: Sequence[Path], flags: Sequence[str], program: Path) -> None:
    """Compiles the program's twin, in a folder next to it; does nothing if coverage is off."""
    if VARIABLE not in os.environ:
        return
    twin = _twin(program)
    twin.parent.mkdir(exist_ok=True)
    command = ["gcc", "-std=c99", *FLAGS, *flags, *map(str, sources), "-o", str(twin)]
    subprocess.run(command, cwd=twin.parent, check=True)


def record(program: Path, data: bytes) -> None:
    """Runs the program's twin, if it has one, on the same input and counts its lines."""
    twin = _twin(program)
    if not twin.exists():
        return
    subprocess.run([twin], input=data, stdout=subprocess.DEVNULL, check=False)
    counts = list(twin.parent.glob("*.gcda"))
    command = ["gcov", "--json-format", "--stdout", *map(str, counts)]
    report = subprocess.run(command, cwd=twin.parent, capture_output=True, check=True).stdout
    for line in report.splitlines():
        for file in json.loads(line)["files"]:
            _add(Path(twin.parent, file["file"]).resolve(), file["lines"])
    for file in counts:
        file.unlink()


def _twin(program: Path) -> Path:
    return program.with_name(f"{program.name}.coverage") / "program"


def _add(file: Path, lines: list[dict[str, int]]) -> None:
    if not file.is_relative_to(INCLUDE):
        return
    counts = _counts.setdefault(file.relative_to(INCLUDE).as_posix(), Counter())
    for line in lines:
        counts[line["line_number"]] += line["count"]


def write() -> None:
    """Leaves this process's counts in the folder: file of include/ -> line -> how often it ran."""
    if _counts:
        folder = Path(os.environ[VARIABLE])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{os.getpid()}.json").write_text(json.dumps(_counts))
