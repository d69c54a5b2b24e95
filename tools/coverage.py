"""Prints the line coverage of the tests, and fails if it is below the floor in .ci/coverage.json.

    python tools/coverage.py             # after `make test` has measured
    python tools/coverage.py --update    # make coverage-floor: today's figures become the floors

Python: pytest-cov's .coverage, lines of platformio_plugin/deepcompress. C: the counts that
tests/support/c_coverage.py leaves, lines of include/. MVE code is not among them: no PC runs it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ROOT / ".ci" / "coverage.json"
C_COUNTS = ROOT / "build" / "coverage"
TOLERANCE = 0.3  # points: random networks do not cover exactly the same lines in each run

# file -> line -> how often it ran
Lines = Mapping[str, Mapping[int, int]]


def main() -> int:
    """Returns 0, or 1 if a figure is below its floor or was not measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the floors")
    parsed = parser.parse_args()
    lines = read_c_counts(C_COUNTS)
    figures = {"c": percent(lines), "python": python_percent()}
    print("\n".join([*c_table(lines), ""]))
    if parsed.update:
        FLOORS.write_text(json.dumps(figures, indent=1) + "\n")
    floors = json.loads(FLOORS.read_text())
    return max(judge(name, figures[name], floors[name]) for name in figures)


def judge(name: str, figure: float, floor: float) -> int:
    """Prints one figure; 1 if it is below its floor by more than the tolerance."""
    falls = figure < floor - TOLERANCE
    verdict = "LESS THAN" if falls else "floor"
    print(f"coverage: {name:<8}{figure:6.1f} % of the lines; {verdict} {floor:.1f} %", flush=True)
    return int(falls)


def read_c_counts(folder: Path) -> dict[str, Counter[int]]:
    """The sum of what all test processes counted."""
    total: dict[str, Counter[int]] = {}
    for path in sorted(folder.glob("*.json")):
        for file, counts in json.loads(path.read_text()).items():
            lines = total.setdefault(file, Counter())
            for line, count in counts.items():
                lines[int(line)] += count
    return total


def percent(lines: Lines) -> float:
    """Share of lines that ran, to a tenth of a percent; 0 of none."""
    all_lines = [count for counts in lines.values() for count in counts.values()]
    covered = sum(count > 0 for count in all_lines)
    return round(100 * covered / len(all_lines), 1) if all_lines else 0.0


def c_table(lines: Lines) -> list[str]:
    """A line per file of include/ that is not covered whole, with the lines that never ran."""
    rows = [f"{'include/':<48}lines  missed"]
    for file, counts in sorted(lines.items()):
        missed = sorted(line for line, count in counts.items() if not count)
        if missed:
            numbers = ", ".join(map(str, missed))
            rows.append(f"{file:<48}{len(counts):>5}  {len(missed):>6}  {numbers}")
    return rows


def python_percent() -> float:
    """Prints pytest-cov's table of files that are not covered whole; returns the total."""
    command = [sys.executable, "-m", "coverage"]
    subprocess.run([*command, "report", "--skip-covered", "--show-missing"], cwd=ROOT)
    total = [*command, "report", "--format=total", "--precision=1"]
    done = subprocess.run(total, cwd=ROOT, capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else 0.0


if __name__ == "__main__":
    sys.exit(main())
