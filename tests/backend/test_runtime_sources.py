"""The output of `deepcompress compile` builds by itself: with CMake, with Make, in a sketch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import c_runner
import numpy as np
import pytest
import torch
from deepcompress.cli.main import main
from torch import nn

ROOT = Path(__file__).parents[2]
IMAGE = np.arange(16, dtype=np.float32).reshape(1, 4, 4) / 16
CMAKE = """\
cmake_minimum_required(VERSION 3.13)
project(firmware C CXX)
add_subdirectory(models)
add_executable(firmware main.cpp)
target_link_libraries(firmware deepcompress)
"""
MAKEFILE = """\
models := $(wildcard models/*.c)
firmware: main.cpp $(models:.c=.o)
	$(CXX) -o $@ $^
"""
SKETCH = """\
#include <stdio.h>
#include "models/digits.hpp"
#include "models/words.hpp"
static float image[16];
int main() {
    for (int i = 0; i < 16; ++i) image[i] = i / 16.0f;
    static DeepCompress::Digits digits;
    static DeepCompress::Words words;
    printf("%d %d", digits.selfTest(), words.infer(image).size());
}
"""
ARM = """\
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_CXX_COMPILER arm-none-eabi-g++)
set(CMAKE_C_FLAGS_INIT "-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard")
set(CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT} -fno-exceptions -fno-rtti")
set(CMAKE_EXE_LINKER_FLAGS_INIT "--specs=rdimon.specs --specs=nano.specs")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A firmware's folder: main.cpp, and in models/ two networks that the command line compiled."""
    folder = tmp_path_factory.mktemp("alone") / "a firmware"
    folder.mkdir()
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    program = torch.export.export(nn.Sequential(*layers).eval(), (torch.zeros(1, 1, 4, 4),))
    torch.export.save(program, folder / "net.pt")
    np.savez(folder / "calibration.npz", inputs=np.stack([IMAGE, 1 - IMAGE]))
    for name in ("digits", "words"):
        command = ["compile", folder / "net.pt", "-o", folder / "models", "--name", name]
        command += ["--calibration", folder / "calibration.npz", "--self-test", 2]
        assert main([str(word) for word in command]) == 0
    (folder / "main.cpp").write_text(SKETCH)
    return folder


@pytest.fixture
def firmware(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "a firmware"))


@pytest.fixture
def cmake() -> Callable[..., subprocess.CompletedProcess]:
    """Runs cmake, which must succeed. Skips the test without cmake, but fails in CI."""
    if not shutil.which("cmake"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("cmake not found; see `make setup`")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess:
        done = subprocess.run(["cmake", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def test_cmake_builds_the_folder_by_itself_and_as_part_of_a_firmware(
    firmware: Path, cmake: Callable
) -> None:
    cmake("-S", firmware / "models", "-B", firmware / "alone")
    cmake("--build", firmware / "alone")
    assert (firmware / "alone" / "libdeepcompress.a").is_file()
    (firmware / "CMakeLists.txt").write_text(CMAKE)
    cmake("-S", firmware, "-B", firmware / "build")
    cmake("--build", firmware / "build")
    said = subprocess.run([firmware / "build" / "firmware"], capture_output=True, text=True)
    assert said.stdout == "0 3"


def test_make_builds_it_from_its_c_files_alone(firmware: Path) -> None:
    (firmware / "Makefile").write_text(MAKEFILE)
    flags = f"CFLAGS={' '.join(c_runner.WARNINGS)}"
    made = subprocess.run(["make", flags], cwd=firmware, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    said = subprocess.run([firmware / "firmware"], capture_output=True, text=True)
    assert said.stdout == "0 3"


def test_cmake_builds_and_links_it_for_a_microcontroller(
    firmware: Path, cmake: Callable, arm_tools: None
) -> None:
    (firmware / "CMakeLists.txt").write_text(CMAKE)
    (firmware / "arm.cmake").write_text(ARM)
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={firmware / 'arm.cmake'}"
    cmake("-S", firmware, "-B", firmware / "build", toolchain)
    built = cmake("--build", firmware / "build", "--verbose").stdout
    compiled = [line for line in built.splitlines() if " -c " in line and "words.c" in line]
    assert "-O2" in compiled[0].split()
    assert "-mcpu=cortex-m4" in compiled[0].split()
    assert (firmware / "build" / "firmware").is_file()


def test_the_runtime_is_left_out_on_request(written: Path, tmp_path: Path) -> None:
    assert main(["compile", str(written / "net.pt"), "-o", str(tmp_path), "--no-runtime"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    reports = {"report.json", "report.html"}
    assert names == {"net.c", "net.h", "net.hpp", "net_weights.h", *reports}


def test_files_of_the_user_are_neither_deleted_nor_replaced(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compile", str(written / "net.pt"), "-o", str(tmp_path)]
    (tmp_path / "CMakeLists.txt").write_text("project(mine)\n")
    (tmp_path / "main.c").write_text("int main;\n")
    assert main(command) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "did not write the CMakeLists.txt in it, and would replace it" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CMakeLists.txt", "main.c"]
    assert main([*command, "--no-runtime"]) == 0
    assert main([*command, "--no-runtime", "--sparsity=0.5"]) == 0
    assert (tmp_path / "CMakeLists.txt").read_text() == "project(mine)\n"
    assert (tmp_path / "main.c").read_text() == "int main;\n"


def test_an_unfinished_write_is_reported_by_cmake(
    firmware: Path, cmake: Callable, tmp_path: Path
) -> None:
    shutil.copytree(firmware / "models", tmp_path / "models")
    work = tmp_path / "models" / ".writing-abcdefgh"
    work.mkdir()
    (work / "commit").write_text('["net.c"]')
    configure = ["cmake", "-S", tmp_path / "models", "-B", tmp_path / "build"]
    configured = subprocess.run(configure, capture_output=True, text=True)
    assert configured.returncode != 0
    assert "deepcompress was stopped while it wrote to" in " ".join(configured.stderr.split())


def test_an_installed_package_has_all_that_a_checkout_has(tmp_path: Path) -> None:
    """Builds a wheel of a copy, unpacks it, and runs its command."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in ("include", "src", "platformio_plugin"):
        shutil.copytree(ROOT / part, source / part, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
    installed = subprocess.run(
        [*pip, "--target", tmp_path / "site", source], capture_output=True, text=True
    )
    assert installed.returncode == 0, installed.stderr
    package = "platformio_plugin/deepcompress"
    modules = {path.relative_to(source / package) for path in (source / package).rglob("*.py")}
    there = (tmp_path / "site" / "deepcompress").rglob("*.py")
    assert {path.relative_to(tmp_path / "site" / "deepcompress") for path in there} == modules
    bare = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    asked = (
        "from deepcompress.backend import runtime_sources as r\n"
        "print(*sorted(r.runtime_sources()), sep='\\n')"
    )
    said = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    include = ROOT / "include"
    headers = {path.relative_to(include).as_posix() for path in include.rglob("*.h")}
    assert set(said.stdout.split()) == headers | {"deepcompress.c", "CMakeLists.txt"}
    version = [tmp_path / "site" / "bin" / "deepcompress", "--version"]
    said = subprocess.run(version, env=bare, capture_output=True, text=True)
    assert said.stdout.startswith("deepcompress "), said.stderr
