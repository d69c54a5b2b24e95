"""The self test finds damage in constants and code, and says where it is."""

from __future__ import annotations

import functools
import io
import re
import subprocess
import zlib
from pathlib import Path

import arm_runner
import bit_flips
import c_runner
import numpy as np
import pytest
import torch
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.encodings import ENCODINGS
from deepcompress.execute.int8_reference import quantize_inputs
from deepcompress.passes.fuse import fuse
from deepcompress.passes.magnitude_prune import magnitude_prune
from deepcompress.passes.quantize import quantize
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile
from golden import store
from model_graphs import NOWHERE, in_steps, lowered
from torch import nn

MAIN = """\
#include "net.h"
#include <stdio.h>

static net_arena arena;

int main(void) {
    const dc_self_test_result result = net_self_test_result(&arena);
    if (result.status != net_self_test(&arena)) {
        return 1;
    }
    printf("%s|%s|%d|%d|%s", dc_status_text(result.status), dc_stage_text(result.stage),
           result.vector, result.layer, result.layer_name);
    return 0;
}
"""


class Last(nn.Module):
    """A GRU and a layer on each of its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(5, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.gru(x)[0])


def convolution() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Sigmoid()),
        *(nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 3)),
    )


@functools.cache
def planned(encoding: str = "auto", *, recurrent: bool = False) -> tuple[Plan, np.ndarray]:
    """A plan, and two golden inputs."""
    torch.manual_seed(0)
    module, shape = (Last(), (3, 5)) if recurrent else (convolution(), (2, 6, 6))
    graph = fuse(lowered(module, *shape))
    inputs = np.random.default_rng(0).standard_normal((8, *shape)).astype(np.float32)
    sparse = encoding not in ("dense", "panel")
    graph = magnitude_prune(graph, sparsity=0.7) if sparse else graph
    integer = quantize(graph, Calibration(inputs))
    integer = in_steps(integer, 16 if encoding == "codebook" else 1)
    selected = select_kernels(integer, encoding=encoding, cpu="cortex-m4")
    return plan_memory(selected), quantize_inputs(inputs, integer)[:2]


def texts_of(plan: Plan, golden: np.ndarray, *, test_layers: bool = False) -> dict[str, str]:
    return emit_c(plan, provenance=NOWHERE, golden_inputs=golden, test_layers=test_layers)


CASES = {**{name: {"encoding": name} for name in ENCODINGS}, "gru": {"recurrent": True}}


@pytest.mark.parametrize("case", CASES)
def test_every_bit_flip_in_constants_is_found_before_a_layer_runs(
    case: str, tmp_path: Path
) -> None:
    texts = texts_of(*planned(**CASES[case]))
    covered = re.findall(r"crc = dc_crc32\(crc, (\w+), ", texts["net.c"])
    assert set(covered) == set(bit_flips.arrays_of(texts, "net"))
    outcomes = bit_flips.flip_on_pc(texts, "net", folder=tmp_path, count=40)
    assert [outcome.stage for outcome in outcomes] == ["constants"] * 40


def test_every_constant_array_of_the_headers_belongs_to_a_kernel() -> None:
    """An array that no kernel names in `library_arrays` would be outside of the CRC."""
    kernels = sorted((c_runner.INCLUDE / "deepcompress").rglob("*.h"))
    found = {
        name
        for path in kernels
        for name in re.findall(r"static const \w+ (\w+)\[", path.read_text())
    }
    plan, _ = planned(recurrent=True)
    assert found == {a.name for step in plan.steps for a in step.kernel.library_arrays()}


def test_the_crc_covers_all_arrays_of_the_golden_networks_with_a_self_test() -> None:
    tested = 0
    for case, texts in store.read().items():
        source = texts[f"{case.network}.c"]
        if "crc_of_constants" in source:
            covered = re.findall(r"crc = dc_crc32\(crc, (\w+), ", source)
            assert set(covered) == set(bit_flips.arrays_of(texts, case.network)), case
            tested += 1
    assert tested > 0


def result_of(texts: dict[str, str], folder: Path, *flags: str) -> list[str]:
    """Status, stage, vector, layer and name of the layer, on the PC."""
    atomic_write({**texts, "main.c": MAIN}, folder)
    sources = [folder / "net.c", folder / "main.c", c_runner.ROOT / "src" / "deepcompress.c"]
    sources += sorted(folder.glob("own_*.c"))
    include = (f"-I{c_runner.INCLUDE}", f"-I{folder}")
    command = ["gcc", *c_runner.WARNINGS, "-O1", *c_runner.SANITIZERS, *flags, *include, *sources]
    subprocess.run([*command, "-o", folder / "program"], check=True)
    done = subprocess.run([folder / "program"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("|")


OK, FAILED = "ok", "self test failed: constants or scores differ from those on the PC"


def test_an_intact_model_passes(tmp_path: Path) -> None:
    passed = [OK, "nothing differs", "-1", "-1", ""]
    assert result_of(texts_of(*planned()), tmp_path / "scores") == passed
    assert result_of(texts_of(*planned(), test_layers=True), tmp_path / "layers") == passed


def test_a_damaged_instruction_is_found_by_the_scores_and_by_the_layer(tmp_path: Path) -> None:
    """Shifts and zero points are operands of instructions, which the CRC does not cover."""
    plan, golden = planned("dense")

    def damaged(**options: bool) -> dict[str, str]:
        texts = texts_of(plan, golden, **options)
        head, found, tail = texts["net.c"].partition(".requantize = { .shift = 32, .zero_point = ")
        second, found_again, rest = tail.partition(found)
        return {**texts, "net.c": f"{head}{found}{second}{found_again}40 + {rest}"}

    names = [step.node.name for step in plan.steps]
    where = 2  # the convolution, the table of Sigmoid, and then the first linear layer
    assert [step.node.op for step in plan.steps[:3]] == ["conv2d", "lookup", "linear"]
    assert result_of(damaged(), tmp_path / "scores") == [
        *(FAILED, "the outputs of the network differ", "0", "-1", "")
    ]
    assert result_of(damaged(test_layers=True), tmp_path / "layers") == [
        *(FAILED, "the output of a layer differs", "0", str(where), names[where])
    ]


def test_a_damaged_constant_is_reported_without_running_a_layer(tmp_path: Path) -> None:
    texts = texts_of(*planned("delta"), test_layers=True)
    head, first, tail = texts["net_weights.h"].partition("_values[")
    size, equals, numbers = tail.partition("] = {\n    ")
    damaged = {**texts, "net_weights.h": f"{head}{first}{size}{equals}128 ^ {numbers}"}
    assert result_of(damaged, tmp_path) == [
        *(FAILED, "the constants differ", "-1", "-1", "")
    ]  # fmt: skip


@pytest.mark.parametrize("cpu", arm_runner.BOARDS)
def test_the_self_test_passes_on(cpu: str, tmp_path: Path) -> None:
    texts = texts_of(*planned("delta4"), test_layers=True)
    elf = bit_flips.build_for_arm(texts, "net", folder=tmp_path, cpu=cpu)
    console = io.BytesIO()
    profile(elf, Request(cpu=cpu, console=console, function="main"))
    assert console.getvalue() == b"\x00\xff"


def test_flips_in_the_flash_of_a_simulated_core_are_found(tmp_path: Path) -> None:
    elf = bit_flips.build_for_arm(texts_of(*planned("bitmap")), "net", folder=tmp_path)
    constants, functions = bit_flips.regions(elf, "net.c")
    assert {"net_layer_4", "net_layer_6"} <= {function.name for function in functions}
    arrays = [constant for constant in constants if not constant.name.startswith("labels")]
    outcomes = list(bit_flips.flip_on_arm(elf, arrays, count=10))
    assert [outcome.stage for outcome in outcomes] == ["constants"] * 10


# --- the CRC


CRC_MAIN = """\
#include "deepcompress/model.h"
#include <stdio.h>

int main(void) {
    static uint8_t bytes[4096];
    const size_t size = fread(bytes, 1, sizeof bytes, stdin);
    uint32_t crc = 0;
    size_t at = 0;
    for (size_t part = 0; at < size; at += part, part = (part * 5 + 3) % 41) {
        const size_t count = part < size - at ? part : size - at;
        crc = dc_crc32(crc, bytes + at, (uint32_t)count);
        part = count;
    }
    printf("%08x", (unsigned)crc);
    return 0;
}
"""
# A CRC unit as the manuals of STM32 define it; reading and writing `DR` run it.
MOCK = """\
#include <stdint.h>

static inline uint32_t __RBIT(uint32_t word) {
    uint32_t reversed = 0;
    for (int i = 0; i < 32; ++i) {
        reversed |= (word >> i & 1) << (31 - i);
    }
    return reversed;
}

#define CRC_CR_RESET    1u
#define CRC_CR_REV_IN_0 0x20u
#define CRC_CR_REV_IN_1 0x40u
#define CRC_CR_REV_OUT  0x80u
#define __HAL_RCC_CRC_CLK_ENABLE() ((void)0)

struct Unit {
    uint32_t state = 0, control = 0;

    void feed(uint32_t data, int bits) {
        const uint32_t mode = control >> 5 & 3;
        if (mode == 3 || (mode == 1 && bits == 8)) {
            data = __RBIT(data) >> (32 - bits);
        }
        for (int i = bits - 1; i >= 0; --i) {
            const uint32_t top = state >> 31 ^ (data >> i & 1);
            state = state << 1 ^ (top ? 0x04c11db7u : 0);
        }
    }
};
static Unit unit;

struct Registers {
    struct Initial {
        uint32_t value = 0xffffffffu;
        void operator=(uint32_t v) { value = v; }
    } INIT;
    struct Polynomial {
        void operator=(uint32_t v) { (void)v; }
    } POL;
    struct Control {
        Registers *all;
        void operator=(uint32_t v) {
            unit.control = v & ~CRC_CR_RESET;
            if (v & CRC_CR_RESET) {
                unit.state = all->INIT.value;
            }
        }
    } CR;
    struct Data {
        void operator=(uint32_t word) { unit.feed(word, 32); }
        operator uint32_t() const {
            return unit.control & CRC_CR_REV_OUT ? __RBIT(unit.state) : unit.state;
        }
    } DR;
};
static Registers registers = {{}, {}, {&registers}, {}};
#define CRC (&registers)
"""


def crc_by(own: str | None, folder: Path, data: bytes) -> int:
    """The CRC of data in parts of all lengths below 41, by the library or by a firmware's own."""
    atomic_write({"main.cpp": CRC_MAIN, **({"own.cpp": own} if own else {})}, folder)
    library = folder / "library.o"
    include = f"-I{c_runner.INCLUDE}"
    source = c_runner.ROOT / "src" / "deepcompress.c"
    subprocess.run(["gcc", *c_runner.WARNINGS, "-c", include, source, "-o", library], check=True)
    sources = sorted(folder.glob("*.cpp"))
    command = ["g++", "-Wall", "-Wextra", "-Werror", include, f"-I{folder}", *sources, library]
    subprocess.run([*command, "-o", folder / "program"], check=True)
    done = subprocess.run([folder / "program"], input=data, capture_output=True, check=True)
    return int(done.stdout, 16)


def examples() -> list[str]:
    """The functions for CRC units in docs/self_test.md."""
    page = (c_runner.ROOT / "docs" / "self_test.md").read_text()
    return [block for block in re.findall(r"```c\n(.*?)```", page, re.S) if "CRC->DR" in block]


@pytest.mark.parametrize("unit", ["library", "programmable unit", "fixed unit"])
def test_the_crc_is_that_of_zlib(unit: str, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3001)
    own = None
    if unit != "library":
        programmable, fixed = examples()
        own = (programmable if unit == "programmable unit" else fixed).replace(
            '#include "stm32', '#include "mock_stm32'
        )
        (header,) = re.findall(r'#include "(mock_stm32\w+\.h)"', own)
        atomic_write({header: MOCK}, tmp_path)
        own = f'extern "C" {{\n#include "deepcompress/model.h"\n}}\n{own}'
    assert crc_by(own, tmp_path, data) == zlib.crc32(data)


def test_the_firmware_can_define_its_own_crc(tmp_path: Path) -> None:
    wrong = "uint32_t dc_crc32(uint32_t crc, const void *data, uint32_t bytes) {\n"
    wrong += "    (void)data;\n    return crc + bytes;\n}\n"
    atomic_write({"own_crc.c": f'#include "deepcompress/model.h"\n{wrong}'}, tmp_path)
    assert result_of(texts_of(*planned()), tmp_path)[1] == "the constants differ"
