"""Builds and measures the examples' firmware, and writes the tables of their READMEs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIO = ROOT / "tools/pio"
sys.path.insert(0, str(ROOT / "benchmarks"))

from readme import replace_part  # noqa: E402


def write_part(project: Path, text: str, *, part: str = "results") -> None:
    """Writes a text to a part of the project's README.md, and prints it."""
    replace_part(part, text, page=project / "README.md")
    print(text)


def pio_run(project: Path, environment: str, *arguments: str) -> list[str | Path]:
    """The command that builds a project, by this checkout's PlatformIO or the one on PATH."""
    pio = str(PIO) if PIO.is_file() else "pio"
    return [pio, "run", "-d", project, "-e", environment, *arguments]


def build(project: Path, environment: str) -> None:
    subprocess.run(pio_run(project, environment, "--silent"), check=True)


def needs(project: Path, environment: str, *, model: str, function: str) -> str:
    """Three columns of a table: flash, RAM and modelled cycles of the linked firmware.

    Args:
        model: the network's name in C.
        function: the function of the network whose calls are measured.
    """
    build(project, environment)
    folder = project / ".pio/build" / environment
    listed = output_of("arm-none-eabi-nm", "--print-size", folder / "firmware.elf")
    network = re.findall(rf"^\w+ (\w+) [tTrR] (?:{model}|dc)_", listed, re.MULTILINE)
    flash = sum(int(size, 16) for size in network)
    arena = json.loads((folder / f"deepcompress/reports/{model}.json").read_text())["ram"]
    profile = [sys.executable, "-m", "deepcompress", "profile", folder / "firmware.elf", "--json"]
    cost = json.loads(output_of(*profile))["functions"][function]
    ram = arena["arena_bytes"] + cost["stack_bytes"]
    return f"{flash:,} B | {ram:,} B | {cost['cycles']:,.0f}"


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
