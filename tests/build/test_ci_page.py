"""docs/ci.md: its project and the commands of its workflow, with local tools for the registry's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from deepcompress.backend.atomic_write import atomic_write
from golden import store
from golden.cases import Case
from platformio.dependencies import get_core_dependencies
from user_project import ROOT, copy_library

PAGE = (ROOT / "docs" / "ci.md").read_text()
EXAMPLE = ROOT / "examples" / "lenet5_mnist"
SKETCH = """\
#include <DeepCompress.h>
static DeepCompress::Lenet5 network;
static uint8_t image[32][32];
int main() { return network.infer(image).index() < 0; }
"""
TOOLS = {"tool-cppcheck": "cppcheck", "tool-clangtidy": "clang-tidy"}


def block(language: str) -> str:
    """The page's only block of code in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return found


def workflow() -> dict:
    return yaml.safe_load(block("yaml"))


def commands() -> list[str]:
    """The lines that the workflow's steps run."""
    (job,) = workflow()["jobs"].values()
    return [line for step in job["steps"] for line in step.get("run", "").splitlines()]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PlatformIO's packages, with the checkers of this machine in place of the registry's."""
    for command in TOOLS.values():
        if not shutil.which(command):
            give_up = pytest.fail if os.environ.get("CI") else pytest.skip
            give_up(f"{command} not found; see `make setup`")
    folder = tmp_path_factory.mktemp("packages")
    scons = ROOT / ".tools" / "platformio" / "packages" / "tool-scons"
    (folder / "tool-scons").symlink_to(scons)
    for name, command in TOOLS.items():
        facts = {"name": name, "version": get_core_dependencies()[name].lstrip("~")}
        spec = {"owner": "platformio", "id": None, "name": name, "requirements": None, "uri": None}
        tool = folder / name
        tool.mkdir()
        (tool / "package.json").write_text(json.dumps({**facts, "system": "*"}))
        (tool / ".piopm").write_text(json.dumps({**facts, "type": "tool", "spec": spec}))
        (tool / command).symlink_to(shutil.which(command) or "")
    return folder


class CiProject:
    """The page's project in a folder."""

    def __init__(self, folder: Path, pio: Callable, packages: Path) -> None:
        self._folder, self._pio, self._packages = folder, pio, packages
        copy_library(folder / "lib" / "DeepCompress")
        shutil.copytree(ROOT / "platforms", folder / "lib" / "DeepCompress" / "platforms")
        for part in ("models/lenet5.pt", "data/calibration.npz"):
            (folder / part).parent.mkdir(parents=True)
            shutil.copy(EXAMPLE / part, folder / part)
        self._write("src/main.cpp", SKETCH)
        self._write("test/test_model/test_main.cpp", block("cpp"))
        runner = ROOT / "tests" / "firmware" / "test" / "test_custom_runner.py"
        (folder / "test" / runner.name).symlink_to(runner)  # Unity without PlatformIO's registry
        self.configure(block("ini"))

    def configure(self, ini: str) -> None:
        """Writes platformio.ini."""
        self._write("platformio.ini", ini.replace("[env]\n", "[env]\ntest_framework = custom\n"))

    def run(self, *arguments: str) -> str:
        """What `pio ARGUMENTS` prints; it must succeed."""
        packages = {"PLATFORMIO_PACKAGES_DIR": str(self._packages)}
        done = self._pio(*arguments, cwd=self._folder, env=packages)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_text(text)


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, pio: Callable, packages: Path, arm_tools: None
) -> CiProject:
    return CiProject(tmp_path_factory.mktemp("ci") / "project", pio, packages)


def test_the_workflow_has_the_keys_that_github_needs() -> None:
    found = workflow()
    assert set(found) == {"name", True, "jobs"}  # YAML 1.1 reads the key `on` as true
    assert found[True] == ["push", "pull_request"]
    (job,) = found["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    for step in job["steps"]:
        assert len({"uses", "run"} & set(step)) == 1
        assert set(step) <= {"name", "uses", "with", "run"}
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v4"))


def test_the_pins_are_those_that_this_project_is_tested_with() -> None:
    development = (ROOT / "pyproject.toml").read_text()
    pinned = re.findall(r"[a-z]+==[\d.]+", "\n".join(commands()))
    assert [pin.partition("=")[0] for pin in pinned] == ["platformio", "torch"]
    assert all(f'"{pin}"' in development for pin in pinned)
    wanted = get_core_dependencies()
    for tool in TOOLS:
        assert f"`{tool} {wanted[tool]}`" in PAGE


def test_the_debian_packages_are_those_that_the_virtual_platform_names() -> None:
    (install,) = (line for line in commands() if "apt-get install" in line)
    platform = (ROOT / "platforms" / "virtual" / "platform.py").read_text()
    for package in install.split("-y ")[1].split():
        assert package in platform


def test_the_commands_of_the_workflow_pass(project: CiProject) -> None:
    pio = [line.split()[1:] for line in commands() if line.startswith("pio ")]
    assert [(words[0], words[2]) for words in pio] == [
        *(("run", "board"), ("test", "virtual"), ("check", "virtual"))
    ]
    assert "1 test cases: 1 succeeded" in project.run(*pio[1])  # the board needs the registry
    assert "No defects found" in project.run(*pio[2])


def test_clang_tidy_finds_nothing_in_the_header(project: CiProject) -> None:
    (flags,) = re.findall(r"`(check_flags = clangtidy: [^`]+)`", PAGE)
    project.configure(block("ini").replace("= cppcheck\n", f"= clangtidy\n{flags}\n"))
    (found,) = json.loads(project.run("check", "-e", "virtual", "--json-output"))
    assert found["succeeded"]
    assert found["defects"] == []


@pytest.mark.parametrize("network", ["lenet", "gru", "huffman"])
def test_cppcheck_finds_nothing_in_generated_c(
    network: str, packages: Path, tmp_path: Path
) -> None:
    atomic_write(store.read()[Case(network, "m4", "balanced")], tmp_path)
    checks = "--enable=warning,style,performance,portability"
    include = (f"-I{tmp_path}", f"-I{ROOT / 'include'}")
    options = ("--quiet", "--std=c99", "--error-exitcode=1", "-D__ARM_FEATURE_DSP=1")
    command = [packages / "tool-cppcheck" / "cppcheck", checks, *options, *include]
    done = subprocess.run([*command, f"{network}.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
