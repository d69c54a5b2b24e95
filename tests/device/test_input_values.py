"""The conversion of float inputs: every float has a result, the same in C and in the reference."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import arm_runner
import c_runner
import numpy as np
import pytest
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.c_names import c_float
from deepcompress.execute.int8_reference import quantize_float
from deepcompress.ir.graph import Quantization
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile

QUANTIZATIONS = (
    Quantization(0.015686275, 0),
    Quantization(1.0, -128),
    Quantization(3.1e-5, 127),
    Quantization(1e-30, 5),
    Quantization(2e30, -7),
)

MAIN = """\
#include "deepcompress/input.h"
#include <stdio.h>
#include <unistd.h>

static const uint32_t bits[COUNT] = {{
{bits}
}};
static int8_t results[COUNT];

/* The profiler looks for such a name. */
int values_infer_float(void) {{
    static float values[COUNT];
    memcpy(values, bits, sizeof bits);
{calls}
    return 0;
}}

int main(void) {{
    return values_infer_float();
}}
"""
CALL = """\
    dc_quantize_floats(values, results, COUNT, {scale}, {zero_point});
    if (write(STDOUT_FILENO, results, COUNT) != COUNT) {{
        return 1;
    }}
"""


def floats() -> np.ndarray:
    """NaN with several payloads, infinities, limits, denormals, ties, and random bit patterns."""
    special = [np.nan, np.inf, -np.inf, 1e20, -1e20, 0.0, -0.0, 1e-45, -1e-45, 1e-38]
    largest = np.finfo(np.float32).max
    special += [largest, -largest, 0.5, -0.5, 1.5, -1.5, 126.5, 127.5, -128.5, 2.0**31, -(2.0**31)]
    steps = np.arange(-300, 300) / 2 * np.float32(QUANTIZATIONS[0].scale)
    payloads = np.array([0xFFC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32)
    random = np.random.default_rng(0).integers(0, 2**32, 400, dtype=np.uint32)
    return np.concatenate(
        [
            np.array(special, np.float32),
            steps.astype(np.float32),
            payloads.view(np.float32),
            random.view(np.float32),
        ]
    )


def program(values: np.ndarray) -> dict[str, str]:
    bits = ",\n".join(f"0x{value:08x}u" for value in values.view(np.uint32))
    calls = "".join(
        CALL.format(scale=c_float(by.scale), zero_point=by.zero_point) for by in QUANTIZATIONS
    )
    return {"main.c": MAIN.format(bits=bits, calls=calls).replace("COUNT", str(len(values)))}


def expected(values: np.ndarray) -> np.ndarray:
    return np.concatenate([quantize_float(values, by) for by in QUANTIZATIONS])


def test_values_that_no_int8_represents_become_the_nearest_and_nan_the_least() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e20, -1e20, 1e300], np.float64)
    for by in QUANTIZATIONS[:4]:
        assert quantize_float(values, by).tolist() == [-128, 127, -128, 127, -128, 127]


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", c_runner.compilers())
def test_c_equals_the_reference_on_the_pc(compiler: str, level: str, tmp_path: Path) -> None:
    values = floats()
    atomic_write(program(values), tmp_path)
    checks = "undefined,float-cast-overflow,float-divide-by-zero"
    # The runtime of clang's sanitizers is a package of its own, which traps do not need.
    ending = {"gcc": "-fno-sanitize-recover=all", "clang": "-fsanitize-trap=all"}[compiler]
    flags = ["-g", f"-fsanitize={checks}", ending]
    command = [compiler, *c_runner.WARNINGS, level, *flags, f"-I{c_runner.INCLUDE}"]
    command += [tmp_path / "main.c", "-o", tmp_path / "main"]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.int8), expected(values))


@pytest.mark.parametrize("cpu", arm_runner.BOARDS)
def test_c_equals_the_reference_on(cpu: str, tmp_path: Path) -> None:
    values = floats()[::3] if cpu == "cortex-m55" else floats()
    atomic_write(program(values), tmp_path)
    include = f"-I{c_runner.INCLUDE}"
    elf = arm_runner.link([tmp_path / "main.c"], folder=tmp_path, cpu=cpu, flags=("-O2", include))
    console = io.BytesIO()
    profile(elf, Request(cpu=cpu, console=console))
    np.testing.assert_array_equal(np.frombuffer(console.getvalue(), np.int8), expected(values))
