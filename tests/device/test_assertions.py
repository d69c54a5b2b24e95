"""DEEPCOMPRESS_ASSERT: NULL and unaligned pointers stop the program; without it, no code."""

from __future__ import annotations

import subprocess
from pathlib import Path

import arm_runner
import c_runner
import numpy as np
import pytest
import torch
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile
from model_graphs import NOWHERE, lowered
from torch import nn

ASSERT = "-DDEEPCOMPRESS_ASSERT"
HANDLER = """\
#include "deepcompress/model.h"
#include <stdio.h>
#include <stdlib.h>

void dc_assert_failed(const char *function, const char *what) {
    printf("%s: %s", function, what);
    exit(3);
}
"""
MAIN = """\
#include "net.h"
#include <stdio.h>

static union {{
    int32_t words[4096];
    float floats[4096];
    int8_t bytes[4 * 4096];
}} memory, inputs;

int main(void) {{
    net_arena *const arena = (net_arena *)(void *)memory.words;
    net_arena *const odd_arena = (net_arena *)(void *)(memory.bytes + 2);
    net_arena *const no_arena = (net_arena *)0;
    const float *const odd_floats = (const float *)(const void *)(inputs.bytes + 1);
    const float *const no_floats = (const float *)0;
    const int8_t *const no_values = (const int8_t *)0;
    (void)odd_arena, (void)no_arena, (void)odd_floats, (void)no_floats, (void)no_values;
    if (net_infer_int8(arena, inputs.bytes + 1) == 0) {{
        return 1;
    }}
    if (net_infer_float(arena, inputs.floats) == 0) {{
        return 1;
    }}
    (void){call};
    printf("returned");
    return 0;
}}
"""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    torch.manual_seed(0)
    graph = fuse(lowered(nn.Sequential(nn.Linear(6, 4)), 6))
    data = Calibration(np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32))
    plan = plan_memory(select_kernels(quantize(graph, data), cpu="cortex-m4"))
    return emit_c(plan, provenance=NOWHERE)


def build(texts: dict[str, str], call: str, folder: Path, *flags: str, own: bool = True) -> Path:
    own_handler = {"handler.c": HANDLER} if own else {}
    atomic_write({**texts, "main.c": MAIN.format(call=call), **own_handler}, folder)
    sources = [*sorted(folder.glob("*.c")), c_runner.ROOT / "src" / "deepcompress.c"]
    include = (f"-I{c_runner.INCLUDE}", f"-I{folder}")
    program = folder / "program"
    command = ["gcc", *c_runner.WARNINGS, "-O1", *flags, *include, *sources, "-o", program]
    subprocess.run(command, check=True)
    return program


ARENA = "arena is NULL, or not aligned like int32_t"
FLOATS = "input is NULL, or not aligned like float"
VALUES = "is NULL, or not aligned like int8_t"
WRONG = {
    "net_infer_int8(no_arena, inputs.bytes)": f"net_infer_int8: {ARENA}",
    "net_infer_int8(odd_arena, inputs.bytes)": f"net_infer_int8: {ARENA}",
    "net_infer_int8(arena, no_values)": f"net_infer_int8: input {VALUES}",
    "net_infer_float(no_arena, inputs.floats)": f"net_infer_float: {ARENA}",
    "net_infer_float(arena, no_floats)": f"net_infer_float: {FLOATS}",
    "net_infer_float(arena, odd_floats)": f"net_infer_float: {FLOATS}",
    "net_argmax(no_values)": f"dc_argmax: scores {VALUES}",
}


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_pointer_is_passed_to_the_handler_of_the_firmware(
    call: str, texts: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run([build(texts, call, tmp_path, ASSERT)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, WRONG[call])


def test_valid_pointers_pass(texts: dict[str, str], tmp_path: Path) -> None:
    program = build(texts, "net_argmax(inputs.bytes)", tmp_path, ASSERT, *c_runner.SANITIZERS)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "returned"), done.stderr


def test_the_handler_of_the_library_stops_the_program(
    texts: dict[str, str], tmp_path: Path
) -> None:
    call = "net_infer_int8(no_arena, inputs.bytes)"
    program = build(texts, call, tmp_path, ASSERT, own=False)
    done = subprocess.run([program], capture_output=True)
    assert done.returncode < 0
    assert b"returned" not in done.stdout


def test_the_handler_of_the_library_is_a_fault_on_a_simulated_core(
    texts: dict[str, str], tmp_path: Path
) -> None:
    flags = ("-O2", ASSERT)
    elf = arm_runner.build(texts, name="net", folder=tmp_path, flags=flags)
    assert profile(elf, Request(cpu="cortex-m4")).exit_code == 0
    wrong = "net_infer_int8((net_arena *)0, input);"
    elf = arm_runner.build(texts, name="net", folder=tmp_path, flags=flags, before=wrong)
    with pytest.raises(UserError, match=r"dc_assert_failed, at 0x\w+, meets an instruction that"):
        profile(elf, Request(cpu="cortex-m4"))


def test_without_the_flag_there_is_no_check(texts: dict[str, str], tmp_path: Path) -> None:
    program = build(texts, "net_argmax(inputs.bytes)", tmp_path, own=False)
    symbols = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    assert "net_infer_int8" in symbols
    assert "dc_assert_failed" not in symbols


def test_the_class_compiles_with_the_flag(texts: dict[str, str], tmp_path: Path) -> None:
    sketch = '#include "net.hpp"\nint main() { DeepCompress::Net net; (void)net; return 0; }\n'
    atomic_write({**texts, "sketch.cpp": sketch}, tmp_path)
    include = (f"-I{c_runner.INCLUDE}", f"-I{tmp_path}")
    flags = ("-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", ASSERT)
    command = ["g++", *flags, "-fsyntax-only", *include, tmp_path / "sketch.cpp"]
    subprocess.run(command, check=True)
