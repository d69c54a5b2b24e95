"""Builds the firmware with one arena and with two, and writes the table of README.md.

python compare.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from results import output_of, pio_run, write_part  # noqa: E402


def main() -> None:
    rows = ["| | arenas | all static RAM | scores |", "| --- | ---: | ---: | --- |"]
    scores: dict[str, list[str]] = {}
    for name, environment in (("separate arenas", "virtual_m4_separate"), ("shared", "virtual_m4")):
        said = run(environment)
        memory, ram = re.search(r"bytes, in (\d+)", said), re.search(r"used (\d+) bytes", said)
        assert memory and ram, said
        scores[name] = [line for line in said.splitlines() if " watched as " in line]
        equal = "the same" if scores[name] == scores["separate arenas"] else "NOT the same"
        rows.append(f"| {name} | {int(memory[1]):,} B | {int(ram[1]):,} B | {equal} |")
    write_part(HERE, "\n".join(rows))


def run(environment: str) -> str:
    """The output of the build and of its firmware. CalledProcessError if either fails."""
    return output_of(*pio_run(HERE, environment, "-t", "upload"))


if __name__ == "__main__":
    main()
