"""`pio run -t profile`: its arguments for the profiler, and its output."""

from __future__ import annotations

from pathlib import Path

import pytest

HARDWARE = """\
from platformio.public import PlatformBase
class HardwarePlatform(PlatformBase):
    pass
"""


def option(call: list[str], name: str) -> str:
    return call[call.index(name) + 1]


def test_each_model_is_profiled_in_the_linked_firmware(project) -> None:
    project.write("models/other.pt", "8")
    project.configure(
        "custom_deepcompress_model =\n  net = models/net.pt\n  other = models/other.pt"
    )
    output = project.build("-t", "profile", "-a", "--wait-states=2")
    profiled = [call for call in project.calls() if call[0] == "profile"]
    build = project.folder / ".pio" / "build" / "native"
    assert [Path(call[1]) for call in profiled] == [build / "program"] * 2
    assert [option(call, "--function") for call in profiled] == ["net_infer_*", "other_infer_*"]
    assert all(call[-2:] == ["--calls=1", "--wait-states=2"] for call in profiled)
    for name, call in zip(("net", "other"), profiled, strict=True):
        assert '"cycles": 1252' in Path(option(call, "--report")).read_text()
        assert Path(option(call, "--html")) == build / "deepcompress" / "profiles" / f"{name}.html"
        assert f"report    {option(call, '--html')}" in output


def test_the_cpu_is_the_boards_because_an_elf_does_not_distinguish_m0_and_m0plus(
    project, arm_tools: None
) -> None:
    board = "[env:small]\nboard = virtual_m0"
    project.configure("custom_deepcompress_model = models/net.pt", sections=board)
    project.build("-t", "profile")
    call = next(call for call in project.calls() if call[0] == "profile")
    assert Path(call[1]).name == "firmware.elf"
    assert option(call, "--cpu") == "cortex-m0"


def test_inferences_are_called_directly_on_a_board_that_is_not_virtual(project, tmp_path) -> None:
    virtual = Path(__file__).resolve().parents[2] / "platforms" / "virtual"
    hardware = tmp_path / "hardware"
    for part in ("boards", "builder", "misc"):
        (hardware / part).parent.mkdir(exist_ok=True)
        (hardware / part).symlink_to(virtual / part)
    manifest = (virtual / "platform.json").read_text()
    (hardware / "platform.json").write_text(manifest.replace('"virtual"', '"hardware"', 1))
    (hardware / "platform.py").write_text(HARDWARE)
    board = f"[env:native]\nplatform = symlink://{hardware}\nboard = virtual_native"
    project.configure("custom_deepcompress_model = models/net.pt", sections=board)
    project.build("-t", "profile")
    call = next(call for call in project.calls() if call[0] == "profile")
    assert "--alone" in call
    assert "--calls=1" not in call


def test_an_error_of_the_profiler_fails_the_target(project) -> None:
    project.build()
    project.mood("mistaken")
    ran = project.pio("run", "-t", "profile")
    assert ran.returncode != 0
    assert "[profile] Error 3" in ran.stderr


@pytest.mark.parametrize("text", ["", "custom_deepcompress_model = models/net.pt"])
def test_the_target_exists_if_there_is_a_model(project, text: str) -> None:
    project.configure(text)
    listed = project.pio("run", "--list-targets").stdout
    assert ("layer by layer" in listed) == bool(text)


def test_a_build_prints_the_path_of_its_report_once(project) -> None:
    report = project.folder / ".pio/build/native/deepcompress/reports/net.html"
    assert f"report    {report}" in project.build()
    assert report.read_text() == "<title>net</title>\n"
    assert "report    " not in project.build()
