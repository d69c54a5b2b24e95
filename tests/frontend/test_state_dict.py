"""Weights by name: the class that the user names builds their network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.frontend.open_graph import open_graph
from model_files import SAVERS, assert_same_function, half, options
from torch import nn


def test_half_precision_weights_are_widened(net: nn.Module, folder: Path, tmp_path: Path) -> None:
    torch.save(half(net), tmp_path / "model.pt")
    assert_same_function(tmp_path / "model.pt", options(folder), net, 0.02)


WRONG_OPTIONS = {
    "no architecture": ({"architecture": None}, "but not how they are connected.*architecture ="),
    "an architecture that exits": (
        {"architecture": "FOLDER/net.py:exits"},
        r"exits\(\) failed \(SystemExit",
    ),
    "no such architecture file": ({"architecture": "gone.py:Net"}, "there is no such file"),
    "no such class": (
        {"architecture": "FOLDER/net.py:Nett"},
        r"has no Nett \(did you mean Net\?\)",
    ),
    "an argument": ({"architecture": "FOLDER/net.py:wants_an_argument"}, "without arguments"),
    "nothing": ({"architecture": "FOLDER/net.py:returns_nothing"}, "gave a NoneType"),
    "no shape": ({"input_shape": None}, "shape of its input is not known.*input_shape"),
    "a wrong shape": ({"input_shape": (3, 6, 6)}, r"not take an input of 3,6,6 \(layer conv: "),
    "a branch": ({"architecture": "FOLDER/net.py:Branches"}, r"cannot follow it at net\.py:\d+"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_a_wrong_option_is_reported_with_what_to_do(
    case: str, net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    more, complaint = WRONG_OPTIONS[case]
    if more.get("architecture"):
        more = {"architecture": more["architecture"].replace("FOLDER", str(folder))}
    SAVERS["state_dict"](net, tmp_path / "model.pt")
    with pytest.raises(UserError, match=complaint):
        open_graph(tmp_path / "model.pt", options(folder, **more), name="net")


def test_weights_of_another_network_are_listed(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    state = dict(net.state_dict())
    state["fc.weight"] = torch.zeros(3, 9)
    del state["conv.bias"]
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError) as error:
        open_graph(tmp_path / "model.pt", options(folder), name="net")
    assert "conv.bias is missing, fc.weight is [3, 9], the network has [3, 8]" in error.value.what


def test_an_architecture_may_import_its_neighbours(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "net.py", tmp_path / "parts.py")
    (tmp_path / "whole.py").write_text("from parts import Net\n")
    SAVERS["state_dict"](net, tmp_path / "model.pt")
    open_graph(
        tmp_path / "model.pt", options(folder, architecture=f"{tmp_path}/whole.py:Net"), name="net"
    )
