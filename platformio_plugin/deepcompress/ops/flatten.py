"""Flatten, and views that only change the shape: no work, the same bytes are read otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call
    from deepcompress.ir.graph import IntegerNode, Quantization

ATEN = ("flatten", "unflatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze")


ONLY_MOVES = True


@dataclass(frozen=True)
class Flatten:
    """Attributes: the new shape, without the batch."""

    shape: tuple[int, ...]


def read(call: Call) -> tuple[Flatten, dict[str, np.ndarray]]:
    if prod(call.output_shape) != prod(call.input_shape):
        raise call.unsupported(
            f"it mixes the batch with the rest: {list(call.input_shape)} values a sample become "
            f"{list(call.output_shape)}",
            "Keep the first axis, as x.flatten(1) and x.reshape(len(x), ...) do",
        )
    return Flatten(call.output_shape), {}


def output_shape(attributes: Flatten, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return attributes.shape


def describe(attributes: Flatten) -> str:
    return "Flatten" if len(attributes.shape) == 1 else "Reshape"


def view(attributes: Flatten, source: tuple[int, ...]) -> int | None:
    return 0


def forward(attributes: Flatten, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(x.shape[0], *attributes.shape)


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), *node.attributes.shape)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_flatten in include/deepcompress/kernels/flatten.h."""
    return {"size": prod(output)}


def macs(attributes: Flatten, weights: int, output: tuple[int, ...]) -> int:
    return 0
