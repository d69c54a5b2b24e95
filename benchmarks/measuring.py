"""Measures one inference of a linked firmware with this project's profiler."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.c_names import number_lines
from deepcompress.profiler.elf import Firmware, read_firmware
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile
from deepcompress.target import find

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
sys.path.insert(0, str(ROOT / "tests" / "support"))

import arm_runner  # noqa: E402

OPTIMIZE = "-O2"  # of gcc, for every implementation
MAIN = """\
#include <stdint.h>
#include <unistd.h>

const void *peer_infer(const void *input);

static const {type} input[] __attribute__((aligned(4))) = {{
{input}
}};

int main(void) {{
    return write(STDOUT_FILENO, peer_infer(input), {bytes}) != {bytes};
}}
"""
EMPTY = '#include <unistd.h>\nint main(void) { return write(STDOUT_FILENO, "", 1) != 1; }\n'


@dataclass(frozen=True)
class Measured:
    """One inference.

    Attributes:
        cycles: None on a CPU whose timing Arm does not publish.
        code_bytes: of all functions that are linked for it, without those of an empty firmware.
        flash_bytes: of code and constants.
        output: the bytes of the result.
    """

    cycles: int | None
    instructions: int
    code_bytes: int
    flash_bytes: int
    output: bytes


def measure_generated(
    texts: dict[str, str], inputs: np.ndarray, *, name: str, cpu: str, folder: Path
) -> Measured:
    """Measures a network from this project's compiler."""
    elf = arm_runner.build(
        texts, name=name, folder=folder, cpu=cpu, flags=[OPTIMIZE], inputs=inputs
    )
    return _measured(elf, f"{name}_infer_int8", inputs.nbytes, cpu)


def measure_peer(
    sources: Iterable[Path],
    inputs: np.ndarray,
    output_bytes: int,
    *,
    cpu: str,
    folder: Path,
    flags: Iterable[str] = (),
) -> Measured:
    """Measures C that defines `const void *peer_infer(const void *input)`, on `inputs`."""
    main = MAIN.format(
        type=f"{inputs.dtype}_t", input="\n".join(number_lines(inputs)), bytes=output_bytes
    )
    atomic_write({"main.c": main}, folder)
    elf = arm_runner.link(
        [folder / "main.c", *sources], folder=folder, cpu=cpu, flags=(OPTIMIZE, *flags)
    )
    return _measured(elf, "peer_infer", inputs.nbytes, cpu)


def _measured(elf: Path, function: str, input_bytes: int, cpu: str) -> Measured:
    console = io.BytesIO()
    (inference,) = profile(elf, Request(cpu=cpu, function=function, console=console)).inferences
    firmware, empty = read_firmware(elf), _empty(cpu)
    known = {function.name for function in empty.functions}
    return Measured(
        cycles=inference.cycles if find(cpu).timing else None,
        instructions=inference.instructions,
        code_bytes=sum(f.size for f in firmware.functions if f.name not in known),
        flash_bytes=_loaded(firmware) - _loaded(empty) - input_bytes,
        output=console.getvalue(),
    )


@functools.cache
def _empty(cpu: str) -> Firmware:
    """A firmware that only starts and ends."""
    folder = BUILD / "empty" / cpu
    atomic_write({"main.c": EMPTY}, folder)
    return read_firmware(
        arm_runner.link([folder / "main.c"], folder=folder, cpu=cpu, flags=[OPTIMIZE])
    )


def _loaded(firmware: Firmware) -> int:
    return sum(len(segment.data) for segment in firmware.segments)
