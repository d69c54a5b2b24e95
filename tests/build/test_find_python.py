"""The search for a Python that has torch, among interpreters that are shell scripts."""

from __future__ import annotations

import sys

import pytest
from deepcompress.build.find_python import clean_environment, find_python, missing
from deepcompress.errors import UserError


@pytest.fixture
def interpreter(tmp_path):
    """Makes an executable that says it lacks some packages: interpreter(path, *lacking)."""

    def make(name, *lacking):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{list(lacking)}"\n')
        path.chmod(0o755)
        return str(path)

    return make


def test_the_first_interpreter_with_all_packages_is_used_in_the_documented_order(
    interpreter, tmp_path
):
    own = interpreter("own/python", "torch")
    places = {
        "VIRTUAL_ENV": str(tmp_path / "active"),
        "CONDA_PREFIX": str(tmp_path / "conda"),
        "PATH": str(tmp_path / "path"),
    }
    for name in (  # each is preferred to those before
        "path/python",
        "path/python3",
        "project/venv/bin/python",
        "project/.venv/bin/python",
        "conda/bin/python",
        "active/bin/python",
        "own/python",
    ):
        expected = interpreter(name)
        assert expected == find_python(
            None, project=tmp_path / "project", own=own, environment=places
        )


def test_the_commands_to_type_are_shown_if_no_interpreter_is_found(interpreter, tmp_path):
    own = interpreter("own/python", "torch", "jinja2")
    with pytest.raises(UserError) as error:
        find_python(None, project=tmp_path, own=own, environment={"PATH": ""})
    paragraph = error.value.paragraph()
    assert f"no Python with torch was found; tried {own}" in paragraph
    assert "python3 -m venv .venv && .venv/bin/pip install torch numpy jinja2" in paragraph


def test_only_the_interpreter_that_the_variable_names_is_tried(interpreter, tmp_path):
    good, bad = interpreter("good"), interpreter("bad", "torch")
    for named, variable in [(None, bad), (bad, good)]:
        environment = {"PATH": "", "DEEPCOMPRESS_PYTHON": variable}
        with pytest.raises(UserError, match="has no torch"):
            find_python(named, project=tmp_path, own=good, environment=environment)


def test_an_interpreter_reports_its_missing_packages():
    assert missing(sys.executable) == []
    assert missing("/nonexistent/python") is None


def test_an_interpreter_does_not_search_the_folders_of_another():
    given = {"PYTHONPATH": "/x", "PYTHONHOME": "/x", "__PYVENV_LAUNCHER__": "/x", "HOME": "/root"}
    assert clean_environment(given) == {"HOME": "/root"}
