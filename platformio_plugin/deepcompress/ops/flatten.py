"""Flatten, and views that only change the shape: no code, `fold` makes them vanish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from deepcompress.graph import IntegerNode, Quantization
    from deepcompress.lower import Call

ATEN = ("flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze")


@dataclass(frozen=True)
class Flatten:
    """Attributes: the new shape, without the batch."""

    shape: tuple[int, ...]


def read(call: Call) -> tuple[Flatten, dict[str, np.ndarray]]:
    return Flatten(call.output_shape), {}


def output_shape(attributes: Flatten, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return attributes.shape


def describe(attributes: Flatten) -> str:
    return "Flatten"


def forward(attributes: Flatten, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(len(x), *attributes.shape)


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), *node.attributes.shape)


def macs(attributes: Flatten, weights: int, output: tuple[int, ...]) -> int:
    return 0
