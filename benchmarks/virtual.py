"""Builds firmware with networks for a virtual board and runs it in QEMU."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.compile import Compiled
from deepcompress.execute.int8_reference import quantize_inputs
from deepcompress.ir.batch_layout import shape_of
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
BOARD = "virtual_m4"
INI = """\
[env:{board}]
platform = symlink://{root}/platforms/virtual
board = {board}
lib_deps = symlink://{root}
custom_virtual_timeout = 3600
custom_deepcompress_model =
{models}
{options}
"""
MAIN = """\
#include <DeepCompress.h>
#include <stdio.h>

/* Answers each input of a file by its output in another; without the file, zeros. */
template <class Network> static void run(const char *from, const char *to) {{
    static Network network;
    static int8_t input[Network::inputSize];
    FILE *inputs = fopen(from, "rb");
    if (inputs == NULL) {{
        network.infer(input);
        return;
    }}
    FILE *outputs = fopen(to, "wb");
    while (fread(input, sizeof input, 1, inputs) == 1) {{
        fwrite(network.infer(input).scores(), Network::outputSize, 1, outputs);
    }}
    fclose(outputs);
}}

int main() {{
{calls}
    return 0;
}}
"""
CALL = '    run<DeepCompress::{Name}>("{name}.in", "{name}.out");'


def export(module: nn.Module, inputs: np.ndarray, path: Path) -> None:
    """Writes an exported program for inputs like these, [1, *shape]."""
    program = torch.export.export(module.eval(), (torch.from_numpy(inputs),))
    content = io.BytesIO()
    torch.export.save(program, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())


def write_project(folder: Path, models: Mapping[str, Path], options: Mapping[str, str]) -> None:
    """Writes a PlatformIO project whose firmware contains these models, by name.

    Args:
        options: of the compiler, as in platformio.ini.
    """
    named = "\n".join(f"  {name} = {path}" for name, path in models.items())
    lines = "\n".join(f"custom_deepcompress_{key} = {value}" for key, value in options.items())
    ini = INI.format(root=ROOT, board=BOARD, models=named, options=lines)
    calls = "\n".join(CALL.format(name=name, Name=name.capitalize()) for name in models)
    atomic_write({"platformio.ini": ini}, folder)
    atomic_write({"main.cpp": MAIN.format(calls=calls)}, folder / "src")


def firmware_of(folder: Path) -> Path:
    """The ELF that `pio run` builds from a project."""
    return folder / ".pio" / "build" / BOARD / "firmware.elf"


def answers(
    project: Path, compiled: Mapping[str, Compiled], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Outputs in QEMU for float inputs [n, *shape], by name: int8 [n, *output shape]."""
    with tempfile.TemporaryDirectory() as folder:
        for name, made in compiled.items():
            integers = quantize_inputs(inputs[name], made.integer)
            Path(folder, f"{name}.in").write_bytes(integers.tobytes())
        subprocess.run([firmware_of(project).with_name("program")], cwd=folder, check=True)
        return {
            name: np.fromfile(Path(folder, f"{name}.out"), np.int8).reshape(
                -1, *shape_of(made.integer, made.integer.outputs)
            )
            for name, made in compiled.items()
        }
