"""A recurrent network that processes a word frame by frame."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from speech import DIGITS, FEATURES
from torch import Tensor, nn


class Digits(nn.Module):
    """Float32 [n, frames, FEATURES] to the scores after each frame, [n, frames, DIGITS]."""

    def __init__(self) -> None:
        super().__init__()
        self.hear = nn.GRU(FEATURES, 64, batch_first=True)
        self.classify = nn.Linear(64, DIGITS)

    def forward(self, frames: Tensor) -> Tensor:
        return self.classify(self.hear(frames)[0])


def save(network: nn.Module, path: Path) -> None:
    """Writes the network as an exported program that takes one frame."""
    program = torch.export.export(network.eval(), (torch.zeros(1, 1, FEATURES),))
    content = io.BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getvalue())


def load(path: Path) -> Digits:
    """The network of a file that `save` wrote, for words of any length."""
    network = Digits()
    program = torch.export.load(io.BytesIO(path.read_bytes()))
    network.load_state_dict(program.state_dict)
    return network.eval()
