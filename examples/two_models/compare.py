"""Builds the firmware with one arena and with two, and writes README.md's table.

python compare.py
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PIO = HERE.parents[1] / "tools/pio"
MARKS = "<!-- results: written by compare.py -->", "<!-- end of results -->"


def main() -> None:
    rows = ["| | networks' memory | all static RAM | scores |", "| --- | ---: | ---: | --- |"]
    scores: dict[str, list[str]] = {}
    for name, environment in (("an arena each", "virtual_m4_apart"), ("shared", "virtual_m4")):
        said = run(environment)
        memory, ram = re.search(r"bytes, in (\d+)", said), re.search(r"used (\d+) bytes", said)
        assert memory and ram, said
        scores[name] = [line for line in said.splitlines() if " watched as " in line]
        equal = "the same" if scores[name] == scores["an arena each"] else "NOT the same"
        rows.append(f"| {name} | {int(memory[1]):,} B | {int(ram[1]):,} B | {equal} |")
    path, text = HERE / "README.md", "\n".join(rows)
    begin, end = map(re.escape, MARKS)
    whole = path.read_text()
    path.write_text(re.sub(f"(?s)(?<={begin}).*(?={end})", f"\n\n{text}\n\n", whole))
    print(text)


def run(environment: str) -> str:
    """What the build and its firmware print; raises CalledProcessError if either fails."""
    pio = str(PIO) if PIO.is_file() else "pio"
    command = [pio, "run", "-d", HERE, "-e", environment, "-t", "upload"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
