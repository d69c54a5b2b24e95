"""Measures a firmware: flash, RAM, and modelled cycles of one inference."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

ARENA = re.compile(r"_ZL7network")  # the object in host.cpp, which contains only its arena
INFER = re.compile(r"\w+_infer_u?int8")


@dataclass(frozen=True)
class Needs:
    """Sizes in bytes, and cycles of one inference; `ram_bytes` excludes stack and heap."""

    network_flash_bytes: int
    flash_bytes: int
    arena_bytes: int
    stack_bytes: int
    ram_bytes: int
    cycles: int


def measure(elf: Path, name: str = "lenet5") -> Needs:
    """Measures the firmware in `elf`. Raises RuntimeError if it cannot be profiled.

    Args:
        name: the network's name, with which the symbols of its code and constants begin.
    """
    network = re.compile(f"{name}_|dc_")
    with elf.open("rb") as file:
        content = ELFFile(file)
        symbols = {
            symbol["st_value"]: (symbol.name, symbol["st_size"])
            for symbol in content.get_section_by_name(".symtab").iter_symbols()
            if symbol["st_size"]
        }
        writable = [
            section["sh_size"]
            for section in content.iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_flags"] & SH_FLAGS.SHF_WRITE
        ]
        loaded = [s["p_filesz"] for s in content.iter_segments() if s["p_type"] == "PT_LOAD"]
    cost = profile(elf)
    return Needs(
        network_flash_bytes=sum(size for of, size in symbols.values() if network.match(of)),
        flash_bytes=sum(loaded),
        arena_bytes=sum(size for of, size in symbols.values() if ARENA.match(of)),
        stack_bytes=cost["stack_bytes"],
        ram_bytes=sum(writable),
        cycles=round(cost["cycles"]),
    )


def profile(elf: Path) -> dict[str, float]:
    """The cost of one inference, from `python -m deepcompress profile`."""
    command = [sys.executable, "-m", "deepcompress", "profile", str(elf), "--json"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--directory", folder], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(f"the profiler failed: {done.stderr.strip()[-1000:]}")
    functions = json.loads(done.stdout)["functions"]
    return next(cost for name, cost in functions.items() if INFER.fullmatch(name))
