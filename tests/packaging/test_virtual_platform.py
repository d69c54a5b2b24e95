"""The virtual boards in PlatformIO: `pio` builds and runs tests/firmware."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "tests" / "firmware"
QEMU_BOARDS = [
    "virtual_m0",
    "virtual_m3",
    "virtual_m4",
    "virtual_m7",
    "virtual_m33",
    "virtual_m55",
    "virtual_stm32f405",
]
HOST_TOOLS = ["cc", "c++", "ar", "ranlib", "as", "ld", "size", "sh"]


@pytest.fixture
def project(pio, tmp_path):
    """Runs pio on tests/firmware with the built files in tmp_path: project(*arguments, **env)."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess:
        workspace = {"PLATFORMIO_WORKSPACE_DIR": str(tmp_path)}
        return pio(*arguments, "-d", str(FIRMWARE), env={**workspace, **env})

    return run


@pytest.fixture
def launcher(project, arm_tools, tmp_path):
    """Builds tests/firmware for a board and returns the program that runs it: launcher(board)."""

    def build(board: str) -> Path:
        built = project("run", "-e", board)
        assert built.returncode == 0, built.stderr
        return tmp_path / "build" / board / "program"

    return build


def start(program: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [program, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("board", QEMU_BOARDS)
def test_every_board_has_data_bss_heap_constructors_and_floats(board, project, arm_tools):
    ran = project("run", "-e", board, "-t", "upload", "-a", board)
    assert ran.returncode == 0, ran.stderr
    assert f"hello {board}: data 42 bss 0 heap 3 root 6.4807\ndestroyed\n" in ran.stdout


def test_the_native_board_runs_on_the_pc(project):
    ran = project("run", "-e", "native", "-t", "upload", "-a", "pc")
    assert ran.returncode == 0, ran.stderr
    assert "hello pc: data 42 bss 0 heap 3 root 6.4807\ndestroyed\n" in ran.stdout


def test_the_exit_code_of_main_fails_the_upload(project, arm_tools):
    ran = project("run", "-e", "virtual_m4", "-t", "upload", "-a", "exit")
    assert ran.returncode != 0
    assert "[upload] Error 3" in ran.stderr


def test_an_endless_loop_is_stopped_and_reported(project, arm_tools):
    ran = project("run", "-e", "virtual_m4", "-t", "upload", "-a", "loop")
    assert ran.returncode != 0
    assert "[upload] Error 124" in ran.stderr
    assert "did not end within 5 s" in ran.stderr
    assert "custom_virtual_timeout" in ran.stderr


@pytest.mark.parametrize(
    ("board", "task"), [("virtual_m4", "fault"), ("virtual_m0", "fault"), ("virtual_m0", "stack")]
)
def test_a_fault_is_reported_and_ends_with_70(board, task, launcher):
    ran = start(launcher(board), task)
    assert ran.returncode == 70
    assert "virtual: error: CPU fault" in ran.stderr


def test_firmware_reads_and_writes_files_of_the_pc(launcher, tmp_path):
    every_byte = bytes(range(256))
    (tmp_path / "in.bin").write_bytes(every_byte)
    ran = start(launcher("virtual_m33"), "copy", "in.bin", "out.bin", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out.bin").read_bytes() == every_byte


def test_build_flags_of_the_user_replace_the_boards(project, arm_tools):
    flags = {"PLATFORMIO_BUILD_UNFLAGS": "-Os", "PLATFORMIO_BUILD_FLAGS": "-O2"}
    built = project("run", "-v", "-e", "virtual_m3", **flags)
    compiled = [line for line in built.stdout.splitlines() if line.endswith("src/main.cpp")]
    assert len(compiled) == 1
    assert "-O2" in compiled[0].split()
    assert "-Os" not in compiled[0].split()


STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wcast-align=strict -Werror"


@pytest.mark.parametrize(
    ("board", "flags"),
    [
        ("virtual_m4", f"-flto {STRICT}"),
        ("virtual_m0", "-flto -O0"),
        ("virtual_m55", f"-std=c99 -fshort-enums -funsigned-char {STRICT}"),
        ("virtual_m33", f"-std=c17 -flto -O3 -ffast-math {STRICT}"),
    ],
)
def test_the_boards_build_and_report_faults_with_the_users_flags(
    board, flags, project, arm_tools, tmp_path
):
    built = project("run", "-e", board, "-t", "upload", "-a", "x", PLATFORMIO_BUILD_FLAGS=flags)
    assert built.returncode == 0, built.stderr
    assert "warning" not in built.stderr
    assert "hello x: data 42 bss 0 heap 3 root 6.4807\ndestroyed\n" in built.stdout
    assert start(tmp_path / "build" / board / "program", "fault").returncode == 70


def test_firmware_larger_than_the_board_does_not_build(project, arm_tools):
    built = project("run", "-e", "virtual_m0", PLATFORMIO_BUILD_FLAGS="-DZEROED_INTS=5000")
    assert built.returncode != 0
    assert "region `RAM' overflowed" in built.stderr


def test_a_missing_compiler_is_named_with_its_package_and_only_if_needed(project, tmp_path):
    host = tmp_path / "host-tools"
    host.mkdir()
    for tool in HOST_TOOLS:
        (host / tool).symlink_to(shutil.which(tool))
    refused = project("run", "-e", "virtual_m4", PATH=str(host))
    assert refused.returncode != 0
    assert "virtual_m4 needs arm-none-eabi-gcc and qemu-system-arm" in refused.stderr
    assert "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi" in refused.stderr
    assert "Traceback" not in refused.stderr
    built = project("run", "-e", "native", PATH=str(host))
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("board", ["virtual_m0", "native"])
def test_unity_results_are_collected(board, project, arm_tools, tmp_path):
    report = tmp_path / "report.json"
    ran = project("test", "-e", board, "--json-output-path", str(report))
    assert ran.returncode != 0
    suites = json.loads(report.read_text())["test_suites"]
    assert {
        case["name"]: (case["status"], case["message"])
        for suite in suites
        if suite["env_name"] == board
        for case in suite["test_cases"]
    } == {
        "test_floats_are_equal": ("PASSED", None),
        "test_arrays_are_equal": ("PASSED", None),
        "test_one_is_two": ("FAILED", "Expected 2 Was 1"),
    }


def test_the_path_may_contain_blanks_and_non_ascii_letters(pio, arm_tools, tmp_path):
    checkout = tmp_path / "my cheçkout"
    ignored = shutil.ignore_patterns(".pio")
    for part in ("platforms/virtual", "tests/firmware"):
        shutil.copytree(ROOT / part, checkout / part, ignore=ignored)
    folder = checkout / "tests" / "firmware"
    ran = pio("run", "-e", "virtual_m7", "-t", "upload", "-a", "there", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert "hello there:" in ran.stdout
    tested = pio("test", "-e", "virtual_m7", "-f", "test_passing", cwd=folder)
    assert tested.returncode == 0, tested.stderr + tested.stdout
