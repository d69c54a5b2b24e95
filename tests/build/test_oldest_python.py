"""Code that the build tool's Python runs needs only the oldest version, and no package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deepcompress.build import OLDEST_PYTHON, complaint_about_python
from user_project import ROOT, Project, copy_library

PLUGIN = ROOT / "platformio_plugin"
VERSION = ".".join(map(str, OLDEST_PYTHON))
FILES = (
    "__init__.py",
    "errors.py",
    "escape.py",
    "file_lock.py",
    "file_write.py",
    "model_name.py",
    "options.py",
    "versions.py",
)
ALLOWED = (*FILES, "build", "target")


def build_files() -> list[Path]:
    """Every file that the Python of PlatformIO or west runs."""
    allowed = [PLUGIN / "deepcompress" / name for name in ALLOWED]
    files = [file for path in allowed for file in (path.glob("*.py") if path.is_dir() else [path])]
    scripts = [PLUGIN / "extra_script.py", ROOT / "zephyr" / "generate.py"]
    return [*files, *scripts, *(ROOT / "platforms" / "virtual").rglob("*.py")]


def modules() -> list[str]:
    package = [file for file in build_files() if file.is_relative_to(PLUGIN / "deepcompress")]
    names = (file.relative_to(PLUGIN).with_suffix("").as_posix() for file in package)
    return [name.replace("/", ".").replace(".__init__", "") for name in names]


@pytest.fixture(scope="session")
def oldest_python() -> str:
    """The interpreter of the oldest supported version. If missing, skips the test; in CI, fails."""
    name = f"python{VERSION}"
    for python in (ROOT / ".tools" / name / "usr" / "bin" / name, shutil.which(name)):
        if python and Path(python).exists() and run(str(python), "-c", "").returncode == 0:
            return str(python)
    give_up = pytest.fail if os.environ.get("CI") else pytest.skip
    give_up(f"{name} not found; see `make setup`")
    raise AssertionError


def run(python: str, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the interpreter without site-packages (-S)."""
    return subprocess.run(
        [python, "-S", *arguments], capture_output=True, text=True, env={**os.environ, **env}
    )


def test_every_module_is_imported_by_the_oldest_python_without_any_package(
    oldest_python: str,
) -> None:
    lines = ["import importlib, sys", f"assert sys.version_info[:2] == {OLDEST_PYTHON}"]
    lines += [f"importlib.import_module({name!r})" for name in modules()]
    lines += ["print(*(name for name in sys.modules if name.startswith('deepcompress')))"]
    done = run(oldest_python, "-c", "\n".join(lines), PYTHONPATH=str(PLUGIN))
    assert done.returncode == 0, done.stderr
    assert "deepcompress.build.project" in done.stdout.split()
    assert set(done.stdout.split()) == {"deepcompress", *modules()}


@pytest.fixture
def zephyr(project: Project) -> list[str | Path]:
    """The command line of zephyr/generate.py for the project's model, after the Python."""
    project.write("data/labels.txt", "seven\n")
    folders = ["--folder", project.folder, "--output", project.folder / "out" / "net"]
    return [
        *(ROOT / "zephyr" / "generate.py", *folders, "--store", project.folder / "store"),
        *("--cpu", "cortex-m4", "net", "models/net.pt"),
        *("sparsity=0.5", "labels=data/labels.txt", "flash_budget=4K"),
    ]


def test_the_oldest_python_compiles_a_model_and_takes_it_from_the_cache(
    oldest_python: str, zephyr: list[str | Path], project: Project
) -> None:
    for output in ("net: compressing é net.pt\n", "net: unchanged; flash 1,701 B"):
        done = run(oldest_python, *zephyr, DEEPCOMPRESS_PYTHON=str(project.python))
        assert done.returncode == 0, done.stderr
        assert output in done.stdout
    assert len(project.calls()) == 1
    assert "labels.txt" in (project.folder / "out" / "net.d").read_text()


def test_the_oldest_python_reports_a_mistake(
    oldest_python: str, zephyr: list[str | Path], project: Project
) -> None:
    done = run(oldest_python, *zephyr, "encoding=dens", DEEPCOMPRESS_PYTHON=str(project.python))
    assert done.returncode == 1
    assert "did you mean dense?" in done.stderr


EXTRA_SCRIPT = """
import runpy, sys, types

class Environment(dict):
    def subst(self, text, raw=0):
        return text.replace("$", "build/")
    def GetProjectOption(self, name, default):
        return default
    def GetProjectOptions(self):
        return [("custom_deepcompres_model", "net.pt")]

class Builder:
    name, path = "DeepCompress", sys.argv[1]

default = Environment()
sys.modules["SCons"] = types.ModuleType("SCons")
sys.modules["SCons.Script"] = types.ModuleType("SCons.Script")
sys.modules["SCons.Script"].DefaultEnvironment = lambda: default
given = {"Import": lambda *names: None, "ARGUMENTS": {}, "pio_lib_builder": Builder}
given["env"] = Environment(PIOENV="native")
runpy.run_path(sys.argv[1] + "/platformio_plugin/extra_script.py", given)
assert default == {"DEEPCOMPRESS": None}, default
"""


def test_the_oldest_python_runs_the_extra_script(oldest_python: str) -> None:
    done = run(oldest_python, "-c", EXTRA_SCRIPT, str(ROOT))
    assert done.returncode == 0, done.stderr
    assert "did you mean custom_deepcompress_...?" in done.stderr


def test_no_line_needs_a_newer_python() -> None:
    """Covers the lines that the tests above do not run, as far as static analysis can."""
    vermin = Path(sys.executable).with_name("vermin")
    command = [vermin, "--no-tips", "--violations", f"-t={VERSION}-", *build_files()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("version", "complains"),
    [((3, 8), True), ((2, 7), True), ((3, 9), False), ((3, 13), False)],
)
def test_an_older_python_is_refused(version: tuple[int, ...], complains: bool) -> None:
    assert (complaint_about_python(version) is not None) == complains


def test_a_build_on_a_python_that_is_too_old_fails_with_a_message(
    project: Project, tmp_path: Path
) -> None:
    library = tmp_path / "copy"
    copy_library(library)
    file = library / "platformio_plugin" / "deepcompress" / "build" / "__init__.py"
    file.write_text(re.sub(r"OLDEST_PYTHON = \(.*?\)", "OLDEST_PYTHON = (4, 2)", file.read_text()))
    model = "custom_deepcompress_model = models/net.pt"
    project.configure(model, lib_deps=f"symlink://{library}")
    assert "DeepCompress needs Python 4.2 or newer" in project.fail()
    assert project.calls() == []
    project.write("src/main.cpp", "int main() { return 0; }\n")
    ini = (project.folder / "platformio.ini").read_text()
    project.write("platformio.ini", re.sub("custom_.*", "", ini))
    project.build()
