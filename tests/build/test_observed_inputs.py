"""A result in the cache is used only if all that its compilation read is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from deepcompress.build import observed_inputs
from deepcompress.build.cache import Unusable, digest_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {"models/net.py": "1", "data/a.png": "2", "data/b.png": "3"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def record(project: Path, **packages: str) -> dict[str, bytes]:
    files = {name: digest_of(project / name) for name in ("models/net.py", "data", "data/a.png")}
    facts = {"files": {**files, "missing.json": None}}
    facts["packages"] = {str(project / "site"): packages}
    return {observed_inputs.FILE: json.dumps(facts).encode()}


def reason(contents: dict[str, bytes], project: Path, python: Path | None = None) -> str:
    """Why the result is not used, or an empty text."""
    try:
        observed_inputs.check(contents, project, python)
    except Unusable as unusable:
        return str(unusable)
    return ""


def install(site: Path, name: str) -> None:
    (site / name).mkdir(parents=True)


def test_nothing_is_said_if_nothing_has_changed_or_nothing_is_recorded(project: Path) -> None:
    assert reason(record(project), project) == ""
    assert reason({}, project) == ""


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda p: (p / "models/net.py").write_text("4"), "models/net.py"),
        (lambda p: (p / "models/net.py").unlink(), "models/net.py"),
        (lambda p: (p / "data/c.png").write_text(""), "data"),
        (lambda p: (p / "data/b.png").unlink(), "data"),
        (lambda p: (p / "data/a.png").write_text("22"), "data/a.png"),
        (lambda p: (p / "missing.json").write_text(""), "missing.json"),
    ],
)
def test_a_changed_added_or_deleted_file_is_named(project: Path, change, name: str) -> None:
    contents = record(project)
    change(project)
    assert reason(contents, project) == f"was compiled before {name} changed"


def test_a_file_that_changed_while_it_was_read_is_never_the_same(project: Path) -> None:
    facts = {"files": {"models/net.py": observed_inputs.CHANGED}, "packages": {}}
    contents = {observed_inputs.FILE: json.dumps(facts).encode()}
    assert reason(contents, project) == "was compiled before models/net.py changed"


def test_another_version_of_a_package_is_named(project: Path) -> None:
    contents = record(project, torch="2.12.0", numpy="2.3.1")
    assert reason(contents, project) == ""  # this folder of packages does not exist any more
    install(project / "site", "torch-2.12.0.dist-info")
    install(project / "site", "numpy-2.3.1.dist-info")
    assert reason(contents, project) == ""
    install(project / "site", "torch-2.13.0+cpu.dist-info")
    (project / "site" / "torch-2.12.0.dist-info").rmdir()
    said = reason(contents, project)
    assert said == "was compiled with torch 2.12.0, and 2.13.0+cpu is installed"


def test_the_packages_are_those_of_the_python_that_is_named(project: Path) -> None:
    contents = record(project, torch="2.12.0")
    install(project / "site", "torch-2.12.0.dist-info")
    install(project / "venv/lib/python3.12/site-packages", "torch-2.13.0.dist-info")
    assert reason(contents, project) == ""
    said = reason(contents, project, project / "venv" / "bin" / "python")
    assert said == "was compiled with torch 2.12.0, and 2.13.0 is installed"


def test_the_compiler_records_modules_data_and_packages(project: Path) -> None:
    project.joinpath("models/layers").mkdir()
    project.joinpath("models/layers/dense.py").write_text(DENSE)
    project.joinpath("models/net.py").write_text("from layers.dense import Net\n")
    torch.save(torch.nn.Sequential(torch.nn.Linear(4, 2)).state_dict(), project / "net.pt")
    command = [sys.executable, "-m", "deepcompress", "compile", "net.pt", "-o", "out"]
    command += ["--architecture", "models/net.py:Net", "--input-shape", "4", "--no-runtime"]
    path = {"PYTHONPATH": str(Path(observed_inputs.__file__).parents[2])}
    file = project / "record.json"
    environment = {**os.environ, **path, observed_inputs.VARIABLE: str(file)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(file.read_text())
    names = ["data/a.png", "models/layers/dense.py", "models/net.py", "net.pt"]
    assert facts["files"] == {name: digest_of(project / name) for name in names}
    packages = {name: text for site in facts["packages"].values() for name, text in site.items()}
    assert packages == {name: version(name) for name in ("torch", "numpy", "jinja2")}
    assert reason({observed_inputs.FILE: file.read_bytes()}, project) == ""


DENSE = """\
from torch import nn

def Net():
    return nn.Sequential(nn.Linear(4, int(open("data/a.png").read())))
"""
