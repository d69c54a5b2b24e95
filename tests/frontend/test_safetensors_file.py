"""Files of the safetensors package open as state_dicts, if the package is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.frontend.open_graph import open_graph
from model_files import assert_same_function, options, prefixed
from safetensors.torch import save_file
from torch import nn


@pytest.fixture
def file(net: nn.Module, tmp_path: Path) -> Path:
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def refusal(file: Path, folder: Path, **more: object) -> str:
    with pytest.raises(UserError) as error:
        open_graph(file, options(folder, **more), name="net")
    return str(error.value)


def test_it_opens_with_an_architecture(file: Path, net: nn.Module, folder: Path) -> None:
    assert assert_same_function(file, options(folder), net, 1e-5) == ["conv", "fc"]


def test_names_may_have_a_prefix(net: nn.Module, folder: Path, tmp_path: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in prefixed(net).items()}
    save_file(half, tmp_path / "half.pt", metadata={"format": "pt"})
    assert_same_function(tmp_path / "half.pt", options(folder), net, 0.02)


def test_without_an_architecture_the_option_is_named(file: Path, folder: Path) -> None:
    text = refusal(file, folder, architecture=None)
    assert "but not how they are connected" in text
    assert "architecture = file.py:Class" in text


def test_without_the_package_the_command_that_installs_it_is_shown(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    text = refusal(file, folder)
    assert "needs the package safetensors" in text
    assert f"{sys.executable} -m pip install safetensors" in text


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    save_file({"w": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert "conv.weight is missing" in refusal(tmp_path / "model.safetensors", folder)


DAMAGE = {
    "truncated": lambda data: data[:-1],
    "no header": lambda data: data[:20],
    "a larger header": lambda data: (len(data) * 2).to_bytes(8, "little") + data[8:],
    "a huge tensor": lambda data: data.replace(b'"shape":[3]', b'"shape":[9]'),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_one_paragraph(case: str, file: Path, folder: Path) -> None:
    file.write_bytes(DAMAGE[case](file.read_bytes()))
    assert "the package safetensors cannot open it (" in refusal(file, folder)
