"""Compiles C for a Cortex-M with the virtual boards' start-up, to profile it or run it in QEMU."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from c_runner import INCLUDE, ROOT
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.c_names import number_lines

PLATFORM = ROOT / "platforms" / "virtual"

# The board whose memory a CPU gets. QEMU has no machine with an M0+, and its M0 has little RAM.
BOARDS = {
    "cortex-m0": "virtual_m3",
    "cortex-m0plus": "virtual_m3",
    "cortex-m3": "virtual_m3",
    "cortex-m4": "virtual_m4",
    "cortex-m7": "virtual_m7",
    "cortex-m33": "virtual_m33",
    "cortex-m55": "virtual_m55",
}

MAIN = """\
#include "{name}.h"

#include <unistd.h>

static const int8_t input[{NAME}_INPUT_SIZE] = {{
{input}
}};
static {name}_arena arena;

static int print(const int8_t *values, int count) {{
    return write(STDOUT_FILENO, values, count) != count;
}}

int main(void) {{
    {before}
    const int8_t *scores = {name}_infer_int8(&arena, input);
    return {print};
}}
"""


def build(
    texts: Mapping[str, str],
    *,
    name: str,
    folder: Path,
    cpu: str = "cortex-m4",
    flags: Iterable[str] = ("-O2",),
    inputs: np.ndarray | None = None,
    outputs: Sequence[str] = ("output",),
    before: str = "",
) -> Path:
    """The ELF of a firmware that runs a generated model once and prints its outputs' bytes.

    Args:
        flags: further flags of gcc, after those of the CPU.
        outputs: their names in C, see `emit.py`.
        inputs: int8, as many as the model takes; by default zeros.
    """
    numbers = "\n".join(number_lines(np.zeros(1, np.int8) if inputs is None else inputs))
    sizes = [f"{name.upper()}_{output.upper()}_SIZE" for output in outputs]
    values = ["scores", *(f"{name}_{output}(&arena)" for output in outputs[1:])]
    printed = " || ".join(map("print({}, {})".format, values, sizes))
    main = MAIN.format(name=name, NAME=name.upper(), input=numbers, print=printed, before=before)
    atomic_write({**texts, "main.c": main}, folder)
    sources = [folder / f"{name}.c", folder / "main.c", ROOT / "src" / "deepcompress.c"]
    return link(sources, folder=folder, cpu=cpu, flags=(*flags, f"-I{INCLUDE}", f"-I{folder}"))


def link(
    sources: Iterable[Path],
    *,
    folder: Path,
    cpu: str = "cortex-m4",
    flags: Iterable[str] = (),
) -> Path:
    """The ELF of C sources that have a main(): `folder`/model.elf, without unused functions.

    Args:
        sources: files of C, or of objects.
        flags: further flags of gcc, after those of the CPU.
    """
    elf = folder / "model.elf"
    linking = ["-Wl,--gc-sections", "-o", elf, *start_files(cpu, folder), *sources]
    _gcc([*machine(cpu), *flags, *linking])
    return elf


def start_files(cpu: str, folder: Path) -> list[str | Path]:
    """gcc's arguments for a board's start-up and linker script, which is written to `folder`."""
    script = (PLATFORM / "misc" / "link.ld.in").read_text()
    for key, value in board(cpu)["memory"].items():
        script = script.replace(f"@{key}@", str(value))
    atomic_write({"link.ld": script}, folder)
    specs = ["--specs=rdimon.specs", "-nostartfiles"]
    return [*specs, "-T", folder / "link.ld", PLATFORM / "misc" / "startup.c"]


def archive(
    sources: Iterable[Path], *, folder: Path, cpu: str = "cortex-m4", flags: Iterable[str] = ()
) -> Path:
    """The library of C sources, `folder`/library.a, to link with their callers."""
    folder.mkdir(parents=True, exist_ok=True)
    _gcc([*machine(cpu), *flags, "-c", *sources], cwd=folder)
    library = folder / "library.a"
    library.unlink(missing_ok=True)
    objects = sorted(folder.glob("*.o"))
    subprocess.run(["arm-none-eabi-ar", "rcs", library, *objects], check=True)
    return library


def board(cpu: str) -> dict:
    """The section `build` of the manifest of the board whose memory a CPU gets."""
    return json.loads((PLATFORM / "boards" / f"{BOARDS[cpu]}.json").read_text())["build"]


def machine(cpu: str) -> list[str]:
    """gcc's flags for a CPU."""
    return [*board(cpu)["machine_flags"].split(), f"-mcpu={cpu}", "-ffunction-sections"]


def _gcc(arguments: list[str | Path], cwd: Path | None = None) -> None:
    command = ["arm-none-eabi-gcc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
