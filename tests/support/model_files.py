"""A small network in every kind of model file, and changes to archives."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.frontend.open_graph import open_graph
from deepcompress.ir.graph import Graph
from deepcompress.options import Options
from torch import nn

SHAPE = (1, 6, 6)

ARCHITECTURE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.fc(torch.flatten(x, 1))

def wants_an_argument(size):
    return Net()

def returns_nothing():
    return None

def exits():
    raise SystemExit(3)

class Branches(Net):
    def forward(self, x):
        if x.sum() > 0:
            return super().forward(x)
        return super().forward(-x)
"""


def example() -> torch.Tensor:
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))


def half(net: nn.Module) -> dict:
    return {name: tensor.bfloat16() for name, tensor in net.state_dict().items()}


def prefixed(net: nn.Module) -> dict:
    return {f"module.{name}": tensor for name, tensor in net.state_dict().items()}


def wrapped(net: nn.Module, prefix: str) -> dict:
    """A checkpoint of a training framework, which has the network inside its own module."""
    tensors = {f"{prefix}{name}": tensor for name, tensor in net.state_dict().items()}
    return {"state_dict": {**tensors, "loss.weight": torch.ones(3)}, "epoch": 3}


def replace_member(path: Path, ending: str, content: bytes) -> None:
    """Rewrites the member of an archive whose name has this ending."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    (name,) = [name for name in members if name.endswith(ending)]
    members[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def change_program(path: Path, change: Callable[[dict], None]) -> None:
    """Changes the JSON of an exported program."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("models/model.json")]
        program = json.loads(archive.read(name))
    change(program)
    replace_member(path, "models/model.json", json.dumps(program).encode())


def add_member(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/{name}", content)


def save_from_gpu(content: object, path: Path) -> None:
    """A file as torch.save writes it if the tensors are on a GPU; made without one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(content, path)


def export_from_gpu(net: nn.Module, path: Path) -> None:
    """An exported program whose JSON names the GPU on which each tensor was."""

    def moved(value: object) -> object:
        if isinstance(value, list):
            return [moved(part) for part in value]
        if not isinstance(value, dict):
            return value
        on_gpu = {key: {"type": "cuda", "index": 0} for key in value if key == "device"}
        return {key: moved(part) for key, part in value.items()} | on_gpu

    torch.export.save(torch.export.export(net, (example(),)), path)
    change_program(path, lambda program: program.update(moved(program)))


SAVERS: dict[str, Callable[[nn.Module, Path], None]] = {
    "exported program": lambda net, path: torch.export.save(
        torch.export.export(net, (example(),)), path
    ),
    "exported program of a GPU": export_from_gpu,
    "traced TorchScript": lambda net, path: torch.jit.trace(net, example()).save(str(path)),
    "scripted TorchScript": lambda net, path: torch.jit.script(net).save(str(path)),
    "state_dict": lambda net, path: torch.save(net.state_dict(), path),
    "state_dict of a checkpoint": lambda net, path: torch.save(
        {"epoch": 3, "state_dict": net.state_dict()}, path
    ),
    "state_dict of DataParallel": lambda net, path: torch.save(prefixed(net), path),
    "state_dict of torch.compile": lambda net, path: torch.save(wrapped(net, "_orig_mod."), path),
    "state_dict of a framework": lambda net, path: torch.save(wrapped(net, "model."), path),
    "state_dict of a GPU": lambda net, path: save_from_gpu(net.state_dict(), path),
    "state_dict before zip files": lambda net, path: torch.save(
        net.state_dict(), path, _use_new_zipfile_serialization=False
    ),
}


def options(folder: Path, **more: object) -> Options:
    return Options(**{"input_shape": SHAPE, "architecture": f"{folder / 'net.py'}:Net", **more})


def assert_same_graph(one: Graph, other: Graph) -> None:
    """Raises AssertionError unless two graphs are the same, to the bit."""
    for first, second in zip(one.nodes, other.nodes, strict=True):
        assert replace(first, parameters={}) == replace(second, parameters={})
        assert list(first.parameters) == list(second.parameters)
        for name, array in first.parameters.items():
            np.testing.assert_array_equal(array, second.parameters[name], strict=True)
            assert not second.parameters[name].flags.writeable
    assert replace(one, nodes=()) == replace(other, nodes=())


def assert_same_function(path: Path, given: Options, net: nn.Module, tolerance: float) -> list[str]:
    graph = open_graph(path, given, name="net")
    with torch.no_grad():
        expected = net(example()).numpy()
    np.testing.assert_allclose(forward_numpy(graph, example().numpy()), expected, atol=tolerance)
    return [node.name for node in graph.nodes if "weight" in node.parameters]


class Touches:
    """Pickled, it creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def pickled_touch(evidence: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Touches(evidence), buffer)
    return buffer.getvalue()
