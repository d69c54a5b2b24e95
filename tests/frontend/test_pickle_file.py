"""Files of torch.save: plain layers open, other classes only with trust, and no code is run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.frontend.open_graph import open_graph
from deepcompress.options import Options
from model_files import SHAPE, Touches, assert_same_function, options
from torch import nn


def test_a_pickled_module_of_plain_layers_opens_without_trust(
    plain: nn.Module, tmp_path: Path
) -> None:
    torch.save(plain, tmp_path / "model.pt")
    given = Options(input_shape=SHAPE)
    assert assert_same_function(tmp_path / "model.pt", given, plain, 1e-5) == ["conv", "fc"]


def test_a_pickled_module_of_a_users_class_opens_with_trust(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    torch.save(net, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"net\.Net, and unpickling that would run code.*trust"):
        open_graph(tmp_path / "model.pt", options(folder), name="net")
    assert_same_function(tmp_path / "model.pt", options(folder, trust_pickle=True), net, 1e-5)


def test_a_newer_pickle_protocol_opens_only_with_trust(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    torch.save(net.state_dict(), tmp_path / "model.pt", pickle_protocol=4)
    with pytest.raises(UserError, match=r"cannot be opened without running what it holds.*trust"):
        open_graph(tmp_path / "model.pt", options(folder), name="net")
    assert_same_function(tmp_path / "model.pt", options(folder, trust_pickle=True), net, 1e-5)


def test_a_whole_module_from_before_zip_files_opens_only_with_trust(
    plain: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    torch.save(plain, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"cannot be opened without running what it holds.*trust"):
        open_graph(path, Options(input_shape=SHAPE), name="net")
    given = Options(input_shape=SHAPE, trust_pickle=True)
    assert assert_same_function(path, given, plain, 1e-5) == ["conv", "fc"]


def test_trust_does_not_help_where_the_class_is_gone(
    net: nn.Module, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    torch.save(net, path)
    path.write_bytes(path.read_bytes().replace(b"cnet\nNet", b"cgon\nNet"))
    with pytest.raises(UserError, match=r"not to be found \(No module named 'gon'\)"):
        open_graph(path, options(folder, trust_pickle=True), name="net")


class Runs(Touches):
    """The same by a module that torch blocks whatever the allow-list."""

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("evil", [Touches, Runs])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_not_run(evil: type, zipped: bool, tmp_path: Path) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "model.pt"
    torch.save({"weight": evil(evidence)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="would run code from the file"):
        open_graph(tmp_path / "model.pt", Options(input_shape=SHAPE), name="net")
    assert not evidence.exists()
