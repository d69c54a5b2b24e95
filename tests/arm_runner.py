"""Compiles generated C for a virtual Cortex-M4 with the platform's own start-up, for profiling."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from c_runner import INCLUDE, ROOT
from deepcompress.write import write

PLATFORM = ROOT / "platforms" / "virtual"

MAIN = """\
#include "{name}.h"

static {name}_arena arena;
static int8_t input[{NAME}_INPUT_SIZE];

int main(void) {{
    return {name}_infer_int8(&arena, input) == 0;
}}
"""


def build(texts: Mapping[str, str], *, name: str, folder: Path, optimize: str = "-O2") -> Path:
    """The ELF of a firmware that runs a generated model once, on zeros."""
    board = json.loads((PLATFORM / "boards" / "virtual_m4.json").read_text())["build"]
    script = (PLATFORM / "misc" / "link.ld.in").read_text()
    for key, value in board["memory"].items():
        script = script.replace(f"@{key}@", str(value))
    main = MAIN.format(name=name, NAME=name.upper())
    write({**texts, "main.c": main, "link.ld": script}, folder)
    sources = [folder / f"{name}.c", folder / "main.c", PLATFORM / "misc" / "startup.c"]
    flags = [*board["machine_flags"].split(), optimize, "-ffunction-sections", "-Wl,--gc-sections"]
    flags += ["--specs=rdimon.specs", "-nostartfiles", "-T", str(folder / "link.ld")]
    includes = [f"-I{INCLUDE}", f"-I{folder}"]
    library = ROOT / "src" / "deepcompress.c"
    command = [
        "arm-none-eabi-gcc",
        *flags,
        *includes,
        *sources,
        library,
        "-o",
        folder / "model.elf",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "model.elf"
