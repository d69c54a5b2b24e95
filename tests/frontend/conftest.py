"""The small network of `model_files`, and the folder with the file that builds it."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from model_files import ARCHITECTURE
from torch import nn


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "net.py").write_text(ARCHITECTURE)
    return path


@pytest.fixture(scope="session")
def net(folder: Path) -> nn.Module:
    sys.path.insert(0, str(folder))
    import net as architecture

    sys.path.pop(0)
    torch.manual_seed(0)
    return architecture.Net().eval()


@pytest.fixture(scope="session")
def plain() -> nn.Module:
    torch.manual_seed(0)
    layers = [("conv", nn.Conv2d(1, 2, 3)), ("relu", nn.ReLU()), ("pool", nn.MaxPool2d(2))]
    layers += [("flatten", nn.Flatten()), ("fc", nn.Linear(8, 3))]
    return nn.Sequential(OrderedDict(layers)).eval()
