"""Quoted paths and ~ in the files of the build tools: they are read, and are part of the key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from deepcompress.build.ini import Model
from deepcompress.build.project import Project, generate, inputs
from user_project import ROOT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, with a model, data, and a Python file in folders with a space."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in ("my nets/net.pt", "my nets/net.py", "my data/a.npz", "labels.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("7")
    return tmp_path


def test_files_of_quoted_paths_are_part_of_the_key(home: Path) -> None:
    texts = {
        "architecture": "'~/my nets/net.py:Net'",
        "calibration": '"my data/a.npz"',
        "labels": "~/labels.txt",
    }
    model = Model("net", str(home / "my nets/net.pt"), texts)
    found = {path for path in inputs(model, home).values() if path.is_relative_to(home)}
    names = ("my nets/net.pt", "my nets/net.py", "my data/a.npz", "labels.txt")
    assert found == {home / name for name in names}


def fake_python(home: Path) -> Path:
    """A Python that has all packages; its compiler writes its arguments to `calls`."""
    python = home / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && {{ echo "[]"; exit; }}\necho "$@" > "{home}/calls"\nexit 1\n'
    )
    python.chmod(0o755)
    return python


def test_the_option_python_and_study_may_begin_with_the_home_folder(home: Path) -> None:
    fake_python(home)
    texts = {"python": '"~/python"', "study": "~/a study", "retrain": "yes"}
    project = Project(home, "ini", home / "store", ("--cpu", "host"), "none", False, print)
    with pytest.raises(Exception, match="ended with code 1"):
        generate([Model("net", "my nets/net.pt", texts)], project)
    assert f"--study={home}/a study" in (home / "calls").read_text()


def test_without_retraining_a_study_is_passed_on_so_that_the_compiler_warns(home: Path) -> None:
    fake_python(home)
    texts = {"python": "~/python", "study": "a", "retrain": "no", "import_seconds": "7"}
    project = Project(home, "ini", home / "store", ("--cpu", "host"), "none", False, print)
    with pytest.raises(Exception, match="ended with code 1"):
        generate([Model("net", "my nets/net.pt", texts)], project)
    called = (home / "calls").read_text()
    assert "--study=a" in called
    assert "--import-seconds=7" in called
    assert "--python" not in called


def test_zephyr_takes_quoted_paths_of_its_configuration(home: Path) -> None:
    command = [
        *(sys.executable, ROOT / "zephyr" / "generate.py", "--folder", home),
        *("--output", home / "out" / "net", "--store", home / "store", "--cpu", "cortex-m4"),
        *("net", "'~/my nets/net.pt'", f"python={fake_python(home)}", "labels='~/labels.txt'"),
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert "ended with code 1" in done.stderr, done.stderr
    assert f"compile {home}/my nets/net.pt " in (home / "calls").read_text()
