"""The last columns of the inputs before this one, put before it: what a causal convolution sees.

In the first inference these are zeros, the padding that `stream` put this in the place of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from deepcompress.graph import IntegerNode, Quantization
    from deepcompress.lower import Call

ATEN = ()


@dataclass(frozen=True)
class History:
    """Attributes: how many columns of earlier inputs stand before those of this one."""

    columns: int
    stateful: bool = True


def read(call: Call) -> tuple[History, dict[str, np.ndarray]]:
    raise call.unsupported("there is no such layer in torch", "Set stateful = yes instead")


def output_shape(attributes: History, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    *channels, width = inputs[0]
    return (*channels, attributes.columns + width)


def describe(attributes: History) -> str:
    return f"History of {attributes.columns}"


def forward(attributes: History, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    return F.pad(x, (attributes.columns, 0))


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """x: int8 [batch, ..., width], each the first of its stream."""
    before = np.full((*x.shape[:-1], node.attributes.columns), start_byte(quantization[0]), np.int8)
    return np.clip(np.concatenate([before, x], axis=-1), *node.clamp)


def scratch_bytes(attributes: History, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[:-1])) * attributes.columns


def start_byte(before: Quantization) -> int:
    return before.zero_point


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_history in include/deepcompress/kernels/history.h."""
    return {
        "rows": int(np.prod(output[:-1])),
        "columns": node.attributes.columns,
        "width": inputs[0][-1],
    }


def macs(attributes: History, weights: int, output: tuple[int, ...]) -> int:
    return 0
