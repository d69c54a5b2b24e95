"""LeNet-5 as in Unlu's papers (arXiv 2007.01348, 2103.15972): 61,706 parameters."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor, nn


class LeNet5(nn.Module):
    """Classifies handwritten digits: float32 [n, 1, 32, 32] to one score per class, [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(image)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.flatten(x)
        x = self.relu(self.fc1(x))
        x = self.relu(self.fc2(x))
        return self.fc3(x)


def save(network: nn.Module, path: Path) -> None:
    """Writes the network as an exported program, which can be opened without the Python source."""
    program = torch.export.export(network.eval(), (torch.zeros(1, 1, 32, 32),))
    content = io.BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getvalue())


def load(path: Path) -> LeNet5:
    """The network of a file that `save` wrote."""
    network = LeNet5()
    program = torch.export.load(io.BytesIO(path.read_bytes()))
    network.load_state_dict(program.state_dict)
    return network.eval()
