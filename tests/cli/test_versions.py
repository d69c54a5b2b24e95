"""Versions are shown, and checked before something too old fails strangely."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from c_runner import ROOT
from deepcompress import __version__, versions
from deepcompress.build import (
    OLDEST_PLATFORMIO,
    OLDEST_PYTHON,
    complaint_about_platformio,
    complaint_about_python,
)
from deepcompress.build.find_python import missing
from deepcompress.cli.main import main
from deepcompress.errors import UserError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What the versions module finds; a test may change it."""
    found: dict[str, str | None] = {"torch": "2.13.0+cpu", "numpy": "2.0.1", "jinja2": "3.1.6"}
    monkeypatch.setattr(versions, "installed", found.get)
    monkeypatch.setattr(versions, "is_there", lambda name: name in found)
    return found


def test_the_floors_are_those_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    dependencies = re.search(r"^dependencies = \[(.*)\]$", project, re.M)[1]
    needed = [f'"{versions.requirement(name)}"' for name in versions.NEEDED]
    assert dependencies == ", ".join(needed)
    oldest = ".".join(map(str, versions.OLDEST_PYTHON))
    assert f'requires-python = ">={oldest}"' in project
    assert versions.numbers(re.search(r'"torch==(.*)"', project)[1]) == versions.NEWEST_TORCH


def test_the_command_line_shows_all_versions(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"deepcompress {__version__}, Python {sys.version.split()[0]}, torch 2.")
    assert re.search(r", numpy \d+\.\d+.*, jinja2 \d", said)


@pytest.mark.parametrize(
    ("name", "version", "complaint"),
    [
        (
            "torch",
            "2.5.1",
            r"torch 2\.5\.1 is older than 2\.6.*pip install --upgrade 'torch>=2\.6'",
        ),
        ("torch", "1.13.1+cu117", r"torch 1\.13\.1\+cu117 is older than 2\.6"),
        ("numpy", "1.9.3", r"numpy 1\.9\.3 is older than 1\.26"),
        ("jinja2", None, "jinja2 is not installed"),
    ],
)
def test_an_old_or_missing_package_is_one_paragraph(
    name: str, version: str | None, complaint: str, installed: dict[str, str | None]
) -> None:
    if version is None:
        del installed[name]
    else:
        installed[name] = version
    with pytest.raises(UserError, match=complaint):
        versions.check_versions()


def test_a_package_that_states_no_version_is_accepted(installed: dict[str, str | None]) -> None:
    installed["torch"] = None
    versions.check_versions()
    assert "torch of an unknown version" in versions.description()


def test_commands_check_the_versions_first(
    installed: dict[str, str | None], capsys: pytest.CaptureFixture
) -> None:
    installed["torch"] = "2.5.1"
    assert main(["check", "no_such_file.pt"]) == 1
    assert "torch 2.5.1 is older than 2.6" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("version", ["2.6.0", "2.13.9", "2.10.0a0+git1234"])
def test_a_tested_torch_is_no_cause_for_a_warning(
    version: str, installed: dict[str, str | None]
) -> None:
    installed["torch"] = version
    versions.check_versions()
    assert versions.untested_torch() is None


@pytest.mark.parametrize("version", ["2.14.0", "3.0.0.dev20270101"])
def test_a_newer_torch_than_tested_is_a_warning_before_anything_fails(
    version: str, installed: dict[str, str | None], capsys: pytest.CaptureFixture
) -> None:
    installed["torch"] = version
    versions.check_versions()
    assert main(["check", "no_such_file.pt"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"warning torch {version} is newer than 2.13" in said


def test_an_internal_error_names_the_versions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("deepcompress.cli.command.check_versions", fails)
    assert main(["check", "net.pt"]) == 2
    assert f"Versions: {versions.description()}." in capsys.readouterr().err


def test_an_interpreter_with_an_old_torch_lacks_it(tmp_path: Path) -> None:
    """The probe of a build looks at versions, not only at names."""
    site = tmp_path / "site"
    for name, version in (("torch", "2.5.1"), ("numpy", "2.1.0"), ("jinja2", "3.1.2")):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("")
        (site / f"{name}-{version}.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (site / f"{name}-{version}.dist-info" / "METADATA").write_text(metadata)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    assert missing(str(python)) == ["torch>=2.6"]


def test_a_python_too_old_for_the_compiler_is_refused() -> None:
    program = (
        "import sys, runpy; sys.version_info = (3, 9, 2); "
        "runpy.run_module('deepcompress', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("deepcompress: error: this is Python 3.9, and the compiler needs")


@pytest.mark.parametrize(
    ("version", "complains"),
    [("5.2.5", True), ("6.0.2", True), ("6.1.0", False), ("6.2.0b1", False), ("", False)],
)
def test_an_older_platformio_is_refused(version: str, complains: bool) -> None:
    complaint = complaint_about_platformio(version)
    assert bool(complaint) is complains
    if complaint:
        assert f"this is PlatformIO {version}, and DeepCompress needs " in complaint
        assert ".".join(map(str, OLDEST_PLATFORMIO)) in complaint


def test_the_build_side_needs_no_newer_python_than_the_build_tool() -> None:
    assert complaint_about_python(OLDEST_PYTHON) is None
