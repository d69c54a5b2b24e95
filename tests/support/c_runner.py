"""Compiles generated C on the PC, under sanitizers, and runs it on arrays of inputs."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import c_coverage
import numpy as np
from deepcompress.backend.atomic_write import atomic_write

ROOT = Path(__file__).parents[2]
INCLUDE = ROOT / "include"

WARNINGS = (
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wdouble-promotion",
    "-Werror",
)
# The variants of the kernels that a PC can run.
KERNELS = {"portable": ("-DDEEPCOMPRESS_PORTABLE",), "dsp": ("-DDEEPCOMPRESS_EMULATE_DSP",)}
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def main_of(inputs: Sequence[str] = ("input",), outputs: Sequence[str] = ("output",)) -> str:
    """The template of a program that reads inputs and writes outputs until there are no more.

    Args:
        inputs, outputs: their names in C, see `c_names.py`; those of a sample are adjacent.
    """
    lines = ['#include "{name}.h"', "#include <stdio.h>", "#include <stdlib.h>", ""]
    lines += ["/* Exact sizes on the heap, so that the address sanitizer sees a byte too far. */"]
    lines += ["int main(void) {{"]
    sizes = {name: f"{{NAME}}_{name.upper()}_SIZE" for name in (*inputs, *outputs)}
    lines += [f"{{type}} *{x} = malloc(sizeof *{x} * {sizes[x]});" for x in inputs]
    lines += ["{name}_arena *arena = malloc(sizeof *arena);", "{before}"]
    read = (f"fread({x}, sizeof *{x}, {sizes[x]}, stdin) == {sizes[x]}" for x in inputs)
    lines += [f"while ({' && '.join(read)}) {{{{"]
    lines += [f"const int8_t *first = {{name}}_infer_{{kind}}(arena, {', '.join(inputs)});"]
    lines += [f"fwrite(first, 1, {sizes[outputs[0]]}, stdout);"]
    lines += [f"fwrite({{name}}_{y}(arena), 1, {sizes[y]}, stdout);" for y in outputs[1:]]
    lines += ["}}", "int status = (int){name}_self_test(arena);", "free(arena);"]
    lines += [f"free({x});" for x in inputs]
    return "\n".join([*lines, "return status == DC_SELF_TEST_FAILED;", "}}", ""])


@functools.cache
def compilers() -> tuple[str, ...]:
    """The host's C compilers."""
    return tuple(name for name in ("gcc", "clang") if shutil.which(name))


def build(
    texts: Mapping[str, str],
    *,
    name: str,
    folder: Path,
    kind: str = "int8",
    compiler: str = "gcc",
    flags: tuple[str, ...] = ("-O1", *SANITIZERS),
    kernels: str = "portable",
    before: str = "",
    main: str = main_of(),
) -> Path:
    """The program that runs a generated model on standard input; every warning is an error.

    Args:
        kind: what the inputs are: "int8", "uint8" or "float".
        kernels: a key of `KERNELS`.
        before: C that runs once, before the first inference.
        main: the program's template.
    """
    types = {"int8": "int8_t", "uint8": "uint8_t", "float": "float"}
    main = main.format(name=name, NAME=name.upper(), kind=kind, type=types[kind], before=before)
    atomic_write({**texts, "main.c": main}, folder)
    program = folder / f"model_{compiler}_{kind}"
    sources = [folder / f"{name}.c", folder / "main.c", ROOT / "src" / "deepcompress.c"]
    command = [
        compiler,
        *WARNINGS,
        *flags,
        *KERNELS[kernels],
        f"-I{INCLUDE}",
        f"-I{folder}",
        *sources,
        "-o",
        program,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    if compiler == "gcc":
        own = [flag for flag in flags if flag.startswith("-D")]
        c_coverage.build(sources, [*own, *KERNELS[kernels], f"-I{INCLUDE}", f"-I{folder}"], program)
    return program


def run(program: Path, inputs: np.ndarray, outputs: int) -> np.ndarray:
    """int8 [samples, outputs] of a program that `build` made."""
    done = subprocess.run([program], input=inputs.tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[:4000]
    c_coverage.record(program, inputs.tobytes())
    return np.frombuffer(done.stdout, np.int8).reshape(len(inputs), outputs)
