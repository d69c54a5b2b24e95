"""tools/setup.py, the Makefile and tools/pio: the first commands of a contributor."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> ModuleType:
    """tools/<name>.py as a module."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup(tmp_path, monkeypatch) -> ModuleType:
    """tools/setup.py for an empty checkout, on a machine that has every Debian package."""
    module = tool("setup")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "STAMP", tmp_path / "setup.stamp")
    monkeypatch.setattr(module, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(module, "missing_packages", list)
    monkeypatch.setattr(module, "install_oldest_python", lambda: True)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return module


@pytest.fixture
def installed(setup, monkeypatch) -> list[str]:
    """Collects what the set-up would install, in order, and installs nothing."""
    calls = []

    def pretend(name: str):
        calls.append(name)
        setup.PYTHON.touch()
        return True

    monkeypatch.setattr(setup, "install_python_packages", lambda: pretend("python"))
    monkeypatch.setattr(setup, "install_platformio_core", lambda: pretend("platformio"))
    return calls


def test_the_second_set_up_does_nothing_and_prints_nothing(setup, installed, capsys):
    assert setup.main() == 0
    assert installed == ["python", "platformio"]
    capsys.readouterr()
    assert setup.main() == 0
    assert installed == ["python", "platformio"]
    assert capsys.readouterr() == ("", "")


def test_a_changed_pyproject_is_installed(setup, installed):
    setup.main()
    (setup.ROOT / "pyproject.toml").write_text("[project]\ndependencies = ['torch']\n")
    assert setup.main() == 0
    assert installed == ["python", "platformio"] * 2


def test_a_removed_environment_is_made_again(setup, installed):
    setup.main()
    setup.PYTHON.unlink()
    assert setup.main() == 0
    assert installed == ["python", "platformio"] * 2


def test_a_set_up_that_failed_is_not_recorded_as_done(setup, installed, monkeypatch):
    working = setup.install_python_packages
    monkeypatch.setattr(setup, "install_python_packages", lambda: False)
    assert setup.main() == 1
    monkeypatch.setattr(setup, "install_python_packages", working)
    assert setup.main() == 0
    assert installed == ["python", "platformio"]


def test_a_set_up_without_root_shows_what_to_install_and_continues(
    setup, installed, monkeypatch, capsys
):
    monkeypatch.setattr(setup, "missing_packages", lambda: ["clang", "qemu-system-arm"])
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    assert setup.main() == 0
    assert installed == ["python", "platformio"]
    said = capsys.readouterr().out
    assert "sudo apt-get install clang qemu-system-arm" in said
    assert "Continuing without" in said


def test_a_failure_of_pip_is_passed_on(setup, monkeypatch, capfd):
    (setup.ROOT / "pyproject.toml").write_text("this is not TOML")
    monkeypatch.setattr(setup, "VENV", setup.ROOT / ".venv")
    monkeypatch.setattr(setup, "PYTHON", setup.ROOT / ".venv" / "bin" / "python")
    assert setup.main() == 1
    said = capfd.readouterr().err
    assert "pyproject.toml" in said
    assert said.rstrip().endswith("its own error is above.")
    assert not setup.STAMP.exists()


def test_make_help_has_a_sentence_for_every_task():
    tasks = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    lines = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert set(lines) == set(tasks)


@pytest.mark.parametrize(
    ("subject", "complaint"),
    [
        ("Escape layer names in generated comments", None),
        ("Embed the weights", None),
        (
            "Merge branch 'a' into b of some repository whose name is rather long, as names may be",
            None,
        ),
        ("", "is empty"),
        ("A name from a file is not code", "Begin with a verb"),
        ("Escaped layer names", "Begin with a verb"),
        ("escape layer names", "small letter"),
        ("Escape layer names.", "full stop"),
        ("Escape " + "names " * 12, "at most 72"),
    ],
)
def test_a_commits_subject_is_an_imperative(subject, complaint):
    said = tool("check_subject").complaint(subject)
    assert said is None if complaint is None else complaint in said


def test_coverage_of_c_is_summed_over_processes_and_must_not_fall(tmp_path, capsys):
    coverage = tool("coverage")
    (tmp_path / "1.json").write_text('{"a.h": {"1": 2, "2": 0}, "b.h": {"7": 1}}')
    (tmp_path / "2.json").write_text('{"a.h": {"2": 1, "3": 0}}')
    lines = coverage.read_c_counts(tmp_path)
    assert coverage.percent(lines) == 75.0
    assert coverage.c_table(lines)[1:] == [f"{'a.h':<48}    3       1  3"]
    assert (coverage.judge("c", 75.0, 75.2), coverage.judge("c", 75.0, 75.4)) == (0, 1)
    assert "LESS THAN 75.4 %" in capsys.readouterr().out


def test_the_pio_of_a_checkout_has_a_core_folder_of_its_own(tmp_path):
    command = [ROOT / "tools" / "pio", "system", "info", "--json-output"]
    message = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert message.returncode == 0, message.stderr
    info = json.loads(message.stdout[message.stdout.index("{") :])
    assert info["core_dir"]["value"] == str(ROOT / ".tools" / "platformio")
