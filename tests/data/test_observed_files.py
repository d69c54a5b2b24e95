"""The files that a user's code reads are known after it has run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deepcompress.build import observed_inputs
from deepcompress.data import observed_files

RUN = """
import json
from pathlib import Path
from deepcompress.data.observed_files import files_read
from deepcompress.data.user_code import attempt, load_callable
Path("before.txt").read_text()  # not by the user's code
function = load_callable("data", "models/train.py:batches")
attempt(function, "batches()", "here", "Fix it")
Path("after.txt").read_text()
print(json.dumps(files_read(Path.cwd())))
"""


@pytest.fixture
def read(tmp_path):
    """The files that a function `batches` with this body reads, run in the folder `project`."""
    project = tmp_path / "project"
    for name in ("models/parts", "data/images"):
        (project / name).mkdir(parents=True)
    for name in ("before.txt", "after.txt", "data/numbers.csv", "data/images/a.png"):
        (project / name).write_text("1")
    (project / "models/parts/__init__.py").write_text("")
    (project / "models/parts/layer.py").write_text("from . import inner\n")
    (project / "models/parts/inner.py").write_text("")
    (project / "models/late.py").write_text("")
    (tmp_path / "elsewhere.csv").write_text("2")
    path = str(Path(observed_files.__file__).parents[2])

    def run(body, head=""):
        text = f"{head}\ndef batches():\n" + "".join(f"    {line}\n" for line in body.splitlines())
        (project / "models/train.py").write_text(text)
        ran = subprocess.run(
            [sys.executable, "-c", RUN],
            cwd=project,
            env={**os.environ, "PYTHONPATH": path, observed_files.VARIABLE: str(tmp_path / "in")},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert not (tmp_path / "in.notes").exists()
        found = json.loads(ran.stdout.splitlines()[-1])
        assert found.pop("models/train.py") is True
        return found

    return run


def test_imports_from_packages_of_the_project_also_late_ones(read):
    assert read("import late", head="import parts.layer") == {
        "models/late.py": True,
        "models/parts/__init__.py": True,
        "models/parts/inner.py": True,
        "models/parts/layer.py": True,
    }


def test_imports_of_compiled_modules_are_those_of_their_sources(read):
    for _ in range(2):  # the second time from __pycache__
        assert set(read("import late")) == {"models/late.py"}


@pytest.mark.parametrize(
    "body",
    [
        "open('data/numbers.csv').read()",
        "import pathlib; pathlib.Path('data/../data/numbers.csv').read_bytes()",
        "import os; os.close(os.open(b'data/numbers.csv', os.O_RDONLY))",
        "import numpy; numpy.loadtxt('data/numbers.csv')",
        "import numpy; numpy.memmap('data/numbers.csv', mode='r')",
        "import threading as t; x = t.Thread(target=open, args=('data/numbers.csv',)); "
        "x.start(); x.join()",
        "import os; os.fork() or (open('data/numbers.csv'), os._exit(0)); os.wait()",
    ],
)
def test_files_of_the_project(read, body):
    assert read(body) == {"data/numbers.csv": True}


def test_files_outside_of_the_project(read, tmp_path):
    assert read("open('../elsewhere.csv')") == {str(tmp_path / "elsewhere.csv"): True}


def test_folders_that_are_listed(read):
    body = "import pathlib\nfor each in pathlib.Path('data/images').glob('*.png'): each.read_text()"
    assert read(body) == {"data/images": True, "data/images/a.png": True}


def test_a_file_that_does_not_exist_is_noted_and_a_temporary_one_is_not(read):
    body = (
        "import tempfile\n"
        "with tempfile.NamedTemporaryFile('w+') as file: open(file.name)\n"
        "try: open('override.json')\n"
        "except OSError: pass"
    )
    assert read(body) == {"override.json": None}


def test_a_file_that_the_code_writes_is_not_an_input(read):
    assert read("open('cache.csv', 'w').close(); open('cache.csv')") == {}


def test_a_file_that_changes_while_the_code_runs_is_marked(read):
    body = "import os, time\nopen('data/numbers.csv')\nos.system('echo 234 > data/numbers.csv')"
    assert read(body) == {"data/numbers.csv": False}


def test_files_of_python_and_of_installed_packages_are_no_inputs(read):
    assert read("import colorsys, numpy.ma, this; open(numpy.__file__); open('/etc/passwd')") == {}


def test_nothing_is_observed_unless_a_build_tool_asks(monkeypatch):
    monkeypatch.delenv(observed_files.VARIABLE, raising=False)
    with observed_files.observed():
        assert not observed_files._observers
    assert observed_files.files_read(Path()) == {}


def test_the_build_and_the_compiler_have_one_name_for_the_variable():
    assert observed_files.VARIABLE == observed_inputs.VARIABLE
