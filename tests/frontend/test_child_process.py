"""Model files are opened in a child process: the same graph, and one paragraph for its death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from deepcompress.compile import compile_model
from deepcompress.errors import UserError
from deepcompress.frontend import child_main, child_process
from deepcompress.frontend.child_process import ChildError, open_graph_in_child
from deepcompress.frontend.frontend import ImportedLayer
from deepcompress.frontend.graph_codec import read_message
from deepcompress.frontend.open_graph import open_graph
from deepcompress.options import Options
from hostile import crashes, exhaustion, hangs
from model_files import SAVERS, SHAPE, assert_same_graph, options
from torch import nn

PLAIN = Options(input_shape=SHAPE)


@pytest.mark.parametrize("kind", SAVERS)
def test_a_child_gives_the_same_graph_and_layers(
    kind: str, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    path, given = tmp_path / "model.pt", options(folder)
    SAVERS[kind](net, path)
    here: list[ImportedLayer] = []
    there: list[ImportedLayer] = []
    expected = open_graph(path, given, name="net", layer=here.append)
    assert_same_graph(expected, open_graph_in_child(path, given, name="net", layer=there.append))
    assert here == there != []


def test_the_errors_of_a_child_are_the_users(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "model.pt")
    for opens in (open_graph, open_graph_in_child):
        with pytest.raises(UserError, match="holds a dict of epoch, not a network"):
            opens(tmp_path / "model.pt", PLAIN, name="net")


def test_an_unsupported_layer_is_reported_before_the_error(tmp_path: Path) -> None:
    layers: list[ImportedLayer] = []
    torch.save(nn.Sequential(nn.ReLU(), nn.Conv3d(1, 2, 1)), tmp_path / "model.pt")
    given = Options(input_shape=SHAPE)
    with pytest.raises(UserError):
        open_graph_in_child(tmp_path / "model.pt", given, name="net", layer=layers.append)
    assert layers and any(layer.problem for layer in layers)


def test_a_caller_that_raises_leaves_a_server_that_works(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 3)), tmp_path / "model.pt")

    def refuse(layer: ImportedLayer) -> None:
        raise UserError("no", layer.name, "stop")

    with pytest.raises(UserError, match="no"):
        open_graph_in_child(tmp_path / "model.pt", PLAIN, name="net", layer=refuse)
    assert open_graph_in_child(tmp_path / "model.pt", PLAIN, name="net").nodes


def user_class(folder: Path, body: str) -> Options:
    """The options for a network whose constructor runs this line."""
    (folder / "evil.py").write_text(
        f"import ctypes, os, signal, sys, time, torch\n"
        f"def net():\n    {body}\n    return torch.nn.Sequential(torch.nn.Linear(2, 2))\n"
    )
    torch.save(nn.Sequential(nn.Linear(2, 2)).state_dict(), folder / "model.pt")
    return Options(input_shape=(2,), architecture=f"{folder / 'evil.py'}:net")


DEATHS = {
    "a crash": ("ctypes.string_at(0)", r"torch crashed while it opened .*segmentation fault"),
    "an abort": ("os.abort()", r"torch crashed while it opened .*aborted"),
    "a kill": ("os.kill(os.getpid(), signal.SIGKILL)", r"torch crashed .*killed"),
    "an exit": ("os._exit(3)", r"torch crashed .*exit status 3"),
    "memory": ("torch.zeros(1 << 40)", r"needs more than 1,024 MB of memory.*raise open_memory"),
    "memory of Python": ("[bytes(1 << 24) for _ in range(9999)]", r"needs more than 1,024 MB"),
}


@pytest.mark.parametrize("case", DEATHS)
def test_the_death_of_a_child_is_one_paragraph(case: str, tmp_path: Path) -> None:
    body, message = DEATHS[case]
    given = user_class(tmp_path, body)
    with pytest.raises(UserError, match=message) as error:
        open_graph_in_child(tmp_path / "model.pt", given, name="net")
    assert str(error.value).startswith(f"model file {tmp_path / 'model.pt'}: ")
    given = user_class(tmp_path, "pass")
    assert open_graph_in_child(tmp_path / "model.pt", given, name="net").nodes


def test_a_child_that_computes_too_long_ends(tmp_path: Path) -> None:
    given = replace(user_class(tmp_path, "while True: pass"), open_seconds=1)
    with pytest.raises(UserError, match=r"takes more than 1 s.*raise open_seconds"):
        open_graph_in_child(tmp_path / "model.pt", given, name="net")


def test_a_child_that_waits_too_long_ends(tmp_path: Path) -> None:
    given = replace(user_class(tmp_path, "time.sleep(1000)"), open_seconds=1)
    with pytest.raises(UserError, match=r"takes more than 1 s"):
        open_graph_in_child(tmp_path / "model.pt", given, name="net")


def test_a_defect_in_a_child_is_reported_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = user_class(tmp_path, "pass")
    monkeypatch.setattr(child_main, "open_graph", lambda *_, **__: 1 / 0)
    answers: list[bytes] = []
    request = {
        **request_for(tmp_path / "model.pt", given),
        "environment": dict(os.environ),
    }
    child_main.open_for(request, answers.append)
    kind, header, body = message_of(b"".join(answers))
    assert kind == b"F" and header[:2] == ["ZeroDivisionError", "division by zero"]
    defect = child_process._decoded(kind, header, body)
    assert isinstance(defect, ChildError) and "test_child_process.py:" in str(defect)
    assert "ZeroDivisionError" in str(defect.__cause__)


def request_for(path: Path, given: Options) -> dict:
    return {
        "kind": "pickle",
        "path": str(path),
        "name": "net",
        "options": {name: getattr(given, name) for name in child_process._OPTIONS},
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "search_path": list(sys.path),
    }


def message_of(data: bytes) -> tuple:
    start = 0

    def take(size: int) -> bytes:
        nonlocal start
        start += size
        return data[start - size : start]

    message = read_message(take, 1 << 30)
    assert message is not None
    return message


def test_a_process_that_may_not_fork_opens_one_file(tmp_path: Path) -> None:
    given = user_class(tmp_path, "pass")
    server = child_process.Server(fork=False)
    graph = open_graph_in_child(tmp_path / "model.pt", given, name="net", server=server)
    assert [node.op for node in graph.nodes] == ["linear"]
    given = user_class(tmp_path, "torch.zeros(1 << 40)")
    with pytest.raises(UserError, match="needs more than 1,024 MB"):
        open_graph_in_child(tmp_path / "model.pt", given, name="net", server=server)
    server.stop()


def children_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def wait_until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_stays_when_the_compiler_ends(how: signal.Signals, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    user_class(tmp_path, f"open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(1000)")
    command = [sys.executable, "-m", "deepcompress", "compile", "model.pt", "-o", "out"]
    command += ["--input-shape", "2", "--architecture", "evil.py:net"]
    compiler = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: marker.exists() and marker.read_text())
    child = int(marker.read_text())
    (server,) = children_of(compiler.pid)
    compiler.send_signal(how)
    _, err = compiler.communicate(timeout=60)
    assert compiler.returncode == (130 if how == signal.SIGINT else -9)
    assert "Traceback" not in err
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (server, child)), 20)


# One file of each kind that once crashed torch, filled the memory, or took for ever.
HOSTILE = {
    f"{file.kind}: {file.name}": file
    for module in (crashes, exhaustion, hangs)
    for file in module.cases()
}
PICKED = {
    "nested pickles: lists in data.pkl": "nested more than 400 levels",
    "nested pickles: lists by the memo in data.pkl": "nested more than 400 levels",
    "nested pickles: tuples in constants.pkl": "nested more than 400 levels",
    "zip bombs: storage of a pickle": "when they are unpacked",
    "sizes in pickles: strides of 0, archive": "has only 4 stored numbers",
    "sizes in pickles: strides of 0, old file": "has only 4 stored numbers",
    "sizes of weights in programs: strides of 0": "stored numbers",
    "calls in pickles: Linear, archive": "holds torch.nn.modules.linear.Linear, and unpickling",
    "constructors in programs: full of 2,000,000,000": "2,000,000,000 numbers",
    "constructors in scripts: zeros": "3,000,000,000 numbers",
    "long texts: nn_module_stack of 3 MB": "its nn_module_stack has",
    "large activations: upsampling, in a pickle": "memory",
    "symbolic sizes: a tower of powers": "could take very long to evaluate",
    "symbolic sizes: Max of 2,000": "size",
    "many layers: 20,000 in a program": "20,000 layers",
}


@pytest.mark.parametrize("name", PICKED)
def test_a_hostile_file_is_refused_in_one_paragraph(name: str, tmp_path: Path) -> None:
    file = HOSTILE[name]
    path, given = file.write(tmp_path), Options(**file.options)
    with pytest.raises(UserError, match=PICKED[name]) as error:
        compile_model(path, name="net", options=given)
    assert len(error.value.paragraph().splitlines()) == 1
