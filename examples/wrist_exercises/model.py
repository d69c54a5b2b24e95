"""A causal network of one-dimensional convolutions: 16 new samples in, scores of exercises out."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor, nn

EXERCISES = 7


def causal(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A causal convolution: padded only on the left."""
    return [
        nn.ConstantPad1d((kernel - 1, 0), 0.0),
        nn.Conv1d(inputs, outputs, kernel, stride),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    ]


class Exercises(nn.Module):
    """Float32 [n, 6, 16 t] to scores [n, 7, t]: one set of scores per 16 samples.

    The receptive field of the last layers is 12 of these, about four seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.motion = nn.Sequential(
            *causal(6, 16, 5, 2),
            *causal(16, 24, 5, 2),
            *causal(24, 32, 5, 2),
            *causal(32, 32, 5, 2),
        )
        self.rhythm = nn.Sequential(*causal(32, 32, 6), nn.Dropout(0.3), *causal(32, 32, 6))
        self.classify = nn.Conv1d(32, EXERCISES, 1)

    def forward(self, motion: Tensor) -> Tensor:
        return self.classify(self.rhythm(self.motion(motion)))


def save(network: nn.Module, path: Path, samples: int) -> None:
    """Writes the network as an exported program for inputs of this many samples."""
    program = torch.export.export(network.eval(), (torch.zeros(1, 6, samples),))
    content = io.BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getvalue())
