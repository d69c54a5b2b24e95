"""Shared by all tests: the slow ones, this checkout's PlatformIO, and the Arm tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import c_coverage
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / ".tools" / "platformio" / "packages"

# No test is timed: a busy machine is not a defect.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

collect_ignore = ["firmware"]  # PlatformIO's tests, not pytest's


# Left out of `make test-fast`, which must take less than two minutes on two cores: they compile
# hundreds of programs, run PlatformIO, or train.
SLOW = (
    *("benchmarks", "device", "examples", "golden", "pipeline", "profiler", "training"),
    "arith/test_narrow_constants.py",
    "backend/test_cost_model.py",
    "build/test_builds.py",
    "build/test_ci_page.py",
    "build/test_errors_of_builds.py",
    "build/test_library.py",
    "build/test_on_device.py",
    "build/test_profile_target.py",
    "build/test_zephyr.py",
    "cli/test_check.py",
    "cli/test_prune.py",
    "frontend/test_child_process.py",
    "frontend/test_conv1d_as_2d.py",
    "frontend/test_save_program.py",
    "ops/test_conv_transpose2d.py",
    "ops/test_linear_rows.py",
    "ops/test_operators.py",
    "ops/test_pooling.py",
    "ops/test_recurrent.py",
    "packaging/test_arduino.py",
    "packaging/test_first_network.py",
    "packaging/test_real_boards.py",
    "packaging/test_virtual_platform.py",
    "passes/test_make_stateful.py",
    "target/test_cores.py",
    *("test_compile.py", "test_diff_c.py", "test_golden.py"),
)


def pytest_configure() -> None:
    tests = ROOT / "tests"
    if missing := [name for name in SLOW if not (tests / name).exists()]:
        raise pytest.UsageError(f"tests/conftest.py: SLOW names {missing}, which do not exist")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = [ROOT / "tests" / name for name in SLOW]
    for item in items:
        if any(item.path.is_relative_to(path) for path in slow):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fails if pytest-xdist does not keep the tests of a group in one process."""
    if getattr(session.config.option, "loadgroup", False):
        marked = [item for item in session.items if item.get_closest_marker("xdist_group")]
        if any("@" not in item.nodeid for item in marked):
            raise pytest.UsageError("pytest-xdist ignores xdist_group with this release of pytest")


def pytest_sessionfinish() -> None:
    c_coverage.write()


@pytest.fixture(scope="session")
def pio(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess]:
    """Runs `pio ARGUMENTS`: pio(*arguments, cwd=folder, env=changes) -> CompletedProcess of text.

    Each test process has a core folder of its own, because PlatformIO notes there which folder a
    symlinked platform is; the packages are those that tools/setup.py made.
    """
    if not PACKAGES.is_dir():
        pytest.fail("this checkout is not set up: run `make setup`")
    isolated = {
        "PLATFORMIO_CORE_DIR": str(tmp_path_factory.mktemp("platformio")),
        "PLATFORMIO_PACKAGES_DIR": str(PACKAGES),
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
    }

    def run(
        *arguments: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "platformio", *arguments],
            cwd=cwd,
            env={**os.environ, **isolated, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
        )

    return run


@pytest.fixture(scope="session")
def arm_tools() -> None:
    """Skips the test if the Arm compiler or QEMU is missing; fails in CI, which installs them."""
    missing = [tool for tool in ("arm-none-eabi-gcc", "qemu-system-arm") if not shutil.which(tool)]
    if missing:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"{' and '.join(missing)} not found; see `make setup`")
