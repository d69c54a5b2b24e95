"""Looking up a class in a user's file does not train, and does not change the project."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from deepcompress.data.training_data import read_samples
from deepcompress.errors import UserError
from deepcompress.frontend.open_graph import open_graph
from deepcompress.options import Options
from torch import nn

NET = """
import io, json, os, pathlib, shutil, sys, time
import numpy as np
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 2))

def batches(part):
    for _ in range(3):
        yield np.zeros((30, 4), "f"), np.arange(30) % 2

HERE = pathlib.Path(__file__).parent
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with weights in net.pt."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(nn.Sequential(nn.Linear(4, 2)).state_dict(), tmp_path / "net.pt")
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def open_with(folder: Path, code: str, **more: object) -> None:
    (folder / "train.py").write_text(NET + code)
    given = {"input_shape": (4,), "architecture": "train.py:Net", **more}
    open_graph(Path("net.pt"), Options(**given), name="net")


TRAINING = {
    "torch.save": "torch.save(Net().state_dict(), 'net.pt')",
    "torch.save, by its name": "from torch import save\nsave(Net(), f=HERE / 'net.pt')",
    "torch.save to an open file": "torch.save(Net().state_dict(), open('net.pt', 'wb'))",
    "torch.jit.save": "torch.jit.save(torch.jit.trace(Net(), torch.zeros(1, 4)), 'net.pt')",
    "torch.export.save": "torch.export.save(torch.export.export(Net(), (torch.ones(1, 4),)), "
    "'net.pt')",
    "open": "open('net.pt', 'ab').close()",
    "os.open": "os.open(HERE / 'net.pt', os.O_RDWR)",
    "a rename": "torch.save(Net(), 'new.tmp')\nos.replace('new.tmp', 'net.pt')",
    "shutil.move": "torch.save(Net(), 'new.tmp')\nshutil.move('new.tmp', 'net.pt')",
    "a link to the file": "os.symlink('net.pt', 'link')\nopen('link', 'r+').close()",
    "a removal": "pathlib.Path('net.pt').unlink()",
    "another file": "pathlib.Path('notes.txt').write_text('yours')",
    "a swallowed error": "try:\n    torch.save(Net(), 'net.pt')\nexcept:\n    pass",
    "a function that builds": "class Net(Net):\n    def __init__(self):\n"
    "        super().__init__()\n"
    "        torch.save(self.state_dict(), 'net.pt')",
}


@pytest.mark.parametrize("case", TRAINING)
def test_a_file_that_writes_into_the_project_is_stopped_before_it_does(
    case: str, folder: Path
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError) as error:
        open_with(folder, TRAINING[case])
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: after[name] for name in before} == before
    text = str(error.value)
    assert "option architecture = train.py:Net: train.py was run to look up Net, and it is" in text
    assert "notes.txt" if case == "another file" else "net.pt" in text
    assert 'under `if __name__ == "__main__":`' in text


def test_a_change_that_no_hook_sees_is_reported(folder: Path) -> None:
    with pytest.raises(UserError, match=r"and it has changed net\.pt"):
        open_with(folder, "os.system('echo >> net.pt')")


HARMLESS = {
    "a cache": "os.makedirs('.cache', exist_ok=True)\nopen('.cache/x', 'w').close()",
    "a new file": "pathlib.Path('log.txt').write_text('new')\ntorch.save(Net(), 'log.pt')",
    "memory": "torch.save(Net(), io.BytesIO())",
    "reading": "torch.load('net.pt')\nopen('notes.txt').read()",
    "the script itself": "if __name__ == '__main__':\n    torch.save(Net(), 'net.pt')",
}


@pytest.mark.parametrize("case", HARMLESS)
def test_a_file_may_read_and_write_new_files(case: str, folder: Path) -> None:
    open_with(folder, HARMLESS[case])
    assert "__pycache__" not in {path.name for path in folder.iterdir() if path.is_file()}


ENDLESS = """
while True:
    try:
        {}
    except Exception:
        pass
"""


@pytest.mark.parametrize("step", ["sum(range(1000))", "time.sleep(9)"])
def test_a_file_that_seems_to_train_is_stopped_in_time(
    step: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepcompress.data.user_code_guard._WAITING", 1)
    began = time.monotonic()
    with pytest.raises(
        UserError, match=r"still running after 1 s: it appears to train.*import_sec"
    ):
        open_with(folder, ENDLESS.format(step), import_seconds=1)
    assert time.monotonic() - began < 9


def test_the_limit_counts_processor_time(folder: Path) -> None:
    open_with(folder, "time.sleep(1.2)", import_seconds=1)


def test_a_slow_file_may_be_given_more_time(folder: Path) -> None:
    code = "end = time.process_time() + 1.2\nwhile time.process_time() < end: pass"
    open_with(folder, code, import_seconds=0)


def test_after_the_lookup_the_users_code_may_write_again(folder: Path) -> None:
    open_with(folder, "")
    torch.save(nn.Linear(1, 1).state_dict(), "net.pt")
    assert torch.save.__module__ == "torch.serialization"


def test_a_data_file_is_guarded_too(folder: Path) -> None:
    (folder / "train.py").write_text(NET + TRAINING["torch.save"])
    with pytest.raises(UserError, match=r"option data = train\.py:batches: train\.py was run"):
        read_samples("train.py:batches", None, model=Path("net.pt"))


def test_opening_a_trusted_pickle_does_not_train_either(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    (folder / "trainer.py").write_text(NET)
    torch.save(importlib.import_module("trainer").Net().eval(), "whole.pt")
    monkeypatch.delitem(sys.modules, "trainer")
    (folder / "trainer.py").write_text(f"{NET}torch.save(Net(), 'net.pt')")
    given = Options(input_shape=(4,), trust_pickle=True)
    with pytest.raises(UserError, match=r"its class, and it is about to write net\.pt.*__main__"):
        open_graph(Path("whole.pt"), given, name="net")


def test_an_error_of_the_file_is_still_its_own(folder: Path) -> None:
    with pytest.raises(UserError, match=r"running train\.py failed \(ZeroDivisionError"):
        open_with(folder, "1 / 0")


def test_check_says_which_file_it_runs_and_keeps_standard_output_clean(folder: Path) -> None:
    (folder / "train.py").write_text(NET + "print('hello from the file')")
    command = [sys.executable, "-m", "deepcompress", "check", "net.pt"]
    command += ["--architecture", "train.py:Net", "--input-shape", "4"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("running train.py for its Net (option architecture)\n")
    assert "hello from the file" in done.stderr
    assert "hello from the file" not in done.stdout


def test_the_command_finds_modules_of_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console command has its own folder on the path, not the current one."""
    (folder / "mine.py").write_text(NET)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        torch.save(importlib.import_module("mine").Net().eval(), "whole.pt")
    command = (
        "import sys; sys.path.remove(''); from deepcompress.__main__ import main; sys.exit(main())"
    )
    flags = ["check", "whole.pt", "--trust-pickle", "yes", "--input-shape", "4"]
    done = subprocess.run([sys.executable, "-c", command, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
