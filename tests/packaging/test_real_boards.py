"""Generated code with the exact flags of real boards: compiled, linked into their memory, and run
if QEMU has the CPU."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.compile import Compiled, compile_model
from deepcompress.execute.int8_reference import run
from deepcompress.options import parse
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import bare_boards  # noqa: E402

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror")
BY_NAME = {board.name: board for board in bare_boards.BOARDS}

# Prints by semihosting; uses nothing of Arduino.
MAIN = """\
#include "net.hpp"
#include <unistd.h>
static DeepCompress::Net net;
static const int8_t input[DeepCompress::Net::inputSize] = {};
int main() {
    if (net.selfTest() != DC_OK) return 1;
    const auto result = net.infer(input);
    return write(STDOUT_FILENO, result.scores(), result.size()) != result.size();
}
"""
IN_C = """\
#include "net.h"
#include <unistd.h>
static net_arena arena;
static const int8_t input[NET_INPUT_SIZE];
int main(void) {
    if (net_self_test(&arena) != DC_OK) return 1;
    const int8_t *scores = net_infer_int8(&arena, input);
    return write(STDOUT_FILENO, scores, NET_OUTPUT_SIZE) != NET_OUTPUT_SIZE;
}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, arm_tools: None) -> Compiled:
    """A network with each kind of layer, floats and bytes as input, and a self test."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    network = nn.Sequential(*layers, nn.Linear(64, 10)).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 8, 8),)), folder / "net.pt")
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    np.savez(folder / "data.npz", inputs=images)
    texts = {"calibration": str(folder / "data.npz"), "input_mean": "0", "input_std": "1"}
    texts |= {"sparsity": "0.7", "self_test": "2"}
    return compile_model(folder / "net.pt", name="net", options=parse(texts, where="test"))


def build(
    model: Compiled,
    folder: Path,
    board: bare_boards.Board,
    *flags: str,
    main: str = MAIN,
) -> Path:
    """The firmware; any warning is an error."""
    file = "main.cpp" if main is MAIN else "main.c"
    atomic_write({**model.texts, file: main}, folder)
    sources = [folder / "net.c", folder / file]
    return bare_boards.build(board, sources, folder, flags=(*WARNINGS, *flags))


def scores_of(elf: Path, machine: str) -> bytes:
    """The firmware's output in QEMU."""
    command = ["timeout", "60", "qemu-system-arm", "-M", machine, "-nographic", "-monitor", "none"]
    command += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
    done = subprocess.run([*command, "-kernel", elf], capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(model: Compiled) -> bytes:
    shape = model.integer.tensors[model.integer.inputs[0]].shape
    return run(model.integer, np.zeros((1, *shape), np.int8)).tobytes()


@pytest.mark.parametrize("link_time", ["", "-flto"])
@pytest.mark.parametrize("board", BY_NAME)
def test_the_generated_code_builds_with_the_flags_of_each_board(
    board: str, link_time: str, model: Compiled, tmp_path: Path
) -> None:
    elf = build(model, tmp_path, BY_NAME[board], "-Os", *link_time.split())
    attributes = subprocess.run(
        ["arm-none-eabi-readelf", "-A", elf], capture_output=True, text=True
    ).stdout
    hard = "Tag_ABI_VFP_args: VFP registers" in attributes
    assert hard == ("-mfloat-abi=hard" in BY_NAME[board].machine)


@pytest.mark.parametrize("optimize", ["-Os", "-O2", "-O3", "-Og"])
@pytest.mark.parametrize("abi", ["soft", "softfp", "hard"])
def test_an_stm32f405_prints_the_same_scores_with_every_float_abi_and_optimisation(
    abi: str, optimize: str, model: Compiled, tmp_path: Path
) -> None:
    """1 MB of flash, 128 KB of RAM, at the addresses of STM32F405 and QEMU's netduinoplus2."""
    machine = bare_boards.M4.replace("hard", abi)
    board = bare_boards.Board("stm32f405", machine, flash=1 << 20, ram=128 << 10)
    assert scores_of(build(model, tmp_path, board, optimize), "netduinoplus2") == expected(model)


def test_an_nrf51_prints_the_scores_of_the_reference(model: Compiled, tmp_path: Path) -> None:
    """256 KB of flash and 16 KB of RAM: the micro:bit, also in QEMU."""
    machine = "-mcpu=cortex-m0 -mthumb"
    board = bare_boards.Board("microbit", machine, 256 << 10, 16 << 10, **bare_boards.NRF5)
    assert scores_of(build(model, tmp_path, board, "-Os"), "microbit") == expected(model)


@pytest.mark.parametrize(
    ("c", "cpp"), [("c99", "c++11"), ("gnu11", "gnu++14"), ("c17", "c++17"), ("gnu17", "gnu++20")]
)
def test_the_generated_code_builds_with_every_language_standard(
    c: str, cpp: str, model: Compiled, tmp_path: Path
) -> None:
    board = dataclasses.replace(BY_NAME["nucleo_f446re"], c=c, cpp=cpp)
    for main in (MAIN, IN_C):
        folder = tmp_path / str(len(main))
        folder.mkdir()
        build(model, folder, board, "-Os", main=main)


def test_the_generated_code_needs_only_the_library_and_memory_functions(
    model: Compiled, tmp_path: Path
) -> None:
    """No heap, no exceptions, no double; float arithmetic in software if there is no FPU."""
    build(model, tmp_path, BY_NAME["bluepill_f103c8"], "-Os")
    undefined = set()
    for made in ("net.c.o", "main.cpp.o", "deepcompress.c.o"):
        command = ["arm-none-eabi-nm", "-u", "-j", tmp_path / made]
        undefined |= set(subprocess.run(command, capture_output=True, text=True).stdout.split())
    ours = {name for name in undefined if name.startswith(("net_", "dc_"))}
    soft = {name for name in undefined if name.startswith("__aeabi_f") or "2f" in name}
    assert undefined - ours - soft <= {"memcpy", "memset", "memmove", "write", "__aeabi_lmul"}


def test_a_firmware_that_does_not_fit_the_board_does_not_build(
    model: Compiled, tmp_path: Path
) -> None:
    tiny = dataclasses.replace(BY_NAME["bluepill_f103c8"], flash=4 << 10)
    with pytest.raises(bare_boards.BuildFailed, match="region `FLASH' overflowed"):
        build(model, tmp_path, tiny, "-Os")
