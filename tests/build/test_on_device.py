"""examples/on_device_test on a virtual board instead of an attached one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from user_project import ROOT

EXAMPLE = ROOT / "examples" / "on_device_test"
IGNORED = shutil.ignore_patterns(".pio")


@pytest.fixture
def tested(pio: Callable, arm_tools: None, library: Path, tmp_path: Path) -> Callable[[str], str]:
    """Runs `pio test` on a virtual board with a changed test; returns output and exit code."""

    def run(change: tuple[str, str] = ("", "")) -> tuple[str, int]:
        project = Path(shutil.copytree(EXAMPLE, tmp_path / "project", ignore=IGNORED))
        runner = ROOT / "tests" / "firmware" / "test" / "test_custom_runner.py"
        (project / "test" / runner.name).symlink_to(runner)  # Unity without PlatformIO's registry
        ini = (project / "platformio.ini").read_text()
        ini = ini.replace("../lenet5_mnist", f"{EXAMPLE.parent}/lenet5_mnist")
        ini = ini.replace("symlink://../../platforms", f"symlink://{ROOT}/platforms")
        ini = ini.replace("symlink://../..", f"symlink://{library}")
        ini = ini.replace("[env]\n", "[env]\ntest_framework = custom\n")
        (project / "platformio.ini").write_text(ini)
        main = project / "test" / "test_model" / "test_main.cpp"
        main.write_text(main.read_text().replace(*change))
        done = pio("test", "-e", "virtual_m4", "-vv", cwd=project)
        return done.stdout + done.stderr, done.returncode

    return run


def test_the_golden_vectors_pass_on_the_board_and_time_is_printed_if_it_is_counted(tested) -> None:
    said, code = tested()
    assert code == 0, said
    assert "3 test cases: 3 succeeded" in said
    assert "INFO: this core has no cycle counter" in said  # QEMU does not count


def test_scores_that_differ_from_the_pcs_fail_the_test(tested) -> None:
    said, code = tested(("network.selfTest()", "(network.selfTest(), DC_SELF_TEST_FAILED)"))
    assert code != 0
    assert "test_every_golden_vector" in said
    assert "Expected 0 Was -1" in said
