"""Calls kernels one by one, each in separate memory with guard bytes around every buffer."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import arm_runner
import c_runner
import numpy as np
from deepcompress import target
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.c_names import number_lines
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.kernels.kernel import Kernel, Layer
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import SelectedGraph, Selection
from deepcompress.execute.int8_reference import run
from deepcompress.ir.batch_layout import in_chunks
from deepcompress.ir.graph import EncodedWeight, IntegerGraph
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile
from model_graphs import NOWHERE

# On the PC the address sanitizer guards each block; on a simulated core, bytes of a known value.
_MAIN = """\
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef GUARD
#define GUARD 64
#endif

{includes}

/* Memory between guards, filled with a byte. */
static int8_t *block(size_t size, int fill) {{
    int8_t *const all = malloc(size + 2 * GUARD);
    memset(all, 0x5a, size + 2 * GUARD);
    memset(all + GUARD, fill, size);
    return all + GUARD;
}}

static int intact(const int8_t *begin, size_t size) {{
    const int8_t *const end = begin + size;
    for (int i = 0; i < GUARD; ++i) {{
        if (begin[-1 - i] != 0x5a || end[i] != 0x5a) {{
            return 0;
        }}
    }}
    return 1;
}}

/* The profiler runs firmware that has such a function. */
int cases_infer_int8(void) {{
{calls}
    return 0;
}}

int main(void) {{
    return cases_infer_int8();
}}
"""
_CALL = """\
    {{
        static const int8_t values[{input_size}] = {{ {input} }};
        int8_t *const input = block({input_size}, 0), *const output = block({output_size}, 0);
        int8_t *const scratch = block({scratch_size}, {start});
        memcpy(input, values, {input_size});
        {function}({arguments});
        if (!intact(input, {input_size}) || !intact(output, {output_size}) ||
            !intact(scratch, {scratch_size})) {{
            return {index} + 1;
        }}
        if (write(STDOUT_FILENO, output, {output_size}) != {output_size}) {{
            return 255;
        }}
        free(input - GUARD);
        free(output - GUARD);
        free(scratch - GUARD);
    }}
"""


@dataclass(frozen=True)
class Case:
    """One call of a kernel: a graph of one layer, its constants and its input."""

    graph: IntegerGraph
    kernel: Kernel
    weight: EncodedWeight | None
    cpu: str

    @property
    def input(self) -> np.ndarray:
        """int8 [1, *shape], uniformly distributed."""
        shape = self.graph.tensors[self.graph.inputs[0]].shape
        return np.random.default_rng(1).integers(-128, 128, (1, *shape)).astype(np.int8)

    @property
    def expected(self) -> np.ndarray:
        """The output of the reference."""
        return run(in_chunks(self.graph, 1), self.input).ravel()

    @property
    def selection(self) -> Selection:
        (node,) = self.graph.nodes
        layer = Layer.of(self.graph, node)
        cost = self.kernel.cost(layer, self.weight, target.find(self.cpu))
        return Selection(layer, self.kernel, self.weight, cost)

    def texts(self, name: str) -> dict[str, str]:
        """The generated files of a model with this name."""
        graph = replace(self.graph, name=name)
        selections = {graph.nodes[0].name: self.selection}
        selected = SelectedGraph(graph, selections, "speed", self.cpu)
        return emit_c(plan_memory(selected), provenance=NOWHERE)

    def call(self, index: int) -> str:
        selection, values = self.selection, self.input
        scratch = selection.scratch
        arguments = ["input"] * len(selection.layer.inputs) + ["output"]
        if scratch.bytes:
            arguments.append("(int32_t *)(void *)scratch")
        return _CALL.format(
            index=index,
            function=f"n{index}_layer",
            arguments=", ".join(arguments),
            input=" ".join(number_lines(values)),
            input_size=values.size,
            output_size=self.expected.size,
            scratch_size=scratch.bytes,
            start=0x5A if scratch.start is None else scratch.start,
        )


def assert_equal_reference(cases: Sequence[Case], folder: Path) -> None:
    """All cases, in one program for the CPU of the first: on the PC unless that has MVE."""
    texts: dict[str, str] = {}
    for index, case in enumerate(cases):
        texts |= case.texts(f"n{index}")
    includes = "\n".join(f'#include "n{index}.c"' for index in range(len(cases)))
    calls = "".join(case.call(index) for index, case in enumerate(cases))
    atomic_write({**texts, "main.c": _MAIN.format(includes=includes, calls=calls)}, folder)
    features = target.find(cases[0].cpu).features
    found = _on_arm(folder, cases[0].cpu) if "mve" in features else _on_pc(folder, features)
    begin = 0
    for case in cases:
        size = case.expected.size
        message = f"{case.kernel.name} {case.weight.encoding if case.weight else ''}"
        np.testing.assert_array_equal(found[begin : begin + size], case.expected, message)
        begin += size
    assert begin == found.size


def _on_pc(folder: Path, features: frozenset[str]) -> np.ndarray:
    variant = c_runner.KERNELS["dsp" if "dsp" in features else "portable"]
    # Tests of whole networks look for undefined behaviour; here that takes too long.
    flags = (*c_runner.WARNINGS, "-Wno-unused-function", "-O0", "-g", "-fsanitize=address")
    sources = (folder / "main.c", c_runner.ROOT / "src" / "deepcompress.c")
    program = folder / "program"
    command = ["gcc", *flags, *variant, "-DGUARD=0", f"-I{c_runner.INCLUDE}", f"-I{folder}"]
    done = subprocess.run([*command, *sources, "-o", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    ran = subprocess.run([program], capture_output=True)
    assert ran.returncode == 0, f"case {ran.returncode - 1}: {ran.stderr.decode()[:4000]}"
    return np.frombuffer(ran.stdout, np.int8)


def _on_arm(folder: Path, cpu: str) -> np.ndarray:
    sources = (folder / "main.c", c_runner.ROOT / "src" / "deepcompress.c")
    flags = ("-O2", f"-I{c_runner.INCLUDE}", f"-I{folder}")
    elf = arm_runner.link(sources, folder=folder, cpu=cpu, flags=flags)
    console = io.BytesIO()
    profile(elf, Request(cpu=cpu, console=console))
    return np.frombuffer(console.getvalue(), np.int8)
