"""The last columns of the inputs before this one, put before it: what a causal convolution sees.

In the first inference these are zeros, the padding that `stream` put this in the place of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call
    from deepcompress.ir.graph import IntegerNode, Quantization

ATEN = ()
ONLY_MOVES = True


@dataclass(frozen=True)
class History:
    """Attributes.

    Attributes:
        columns: of earlier inputs, before those of this one.
        pieces: how many samples of a batch are consecutive pieces of one stream.
    """

    columns: int
    stateful: bool = True
    pieces: int = 1


def read(call: Call) -> tuple[History, dict[str, np.ndarray]]:
    raise call.unsupported("there is no such layer in torch", "Set stateful = yes instead")


def output_shape(attributes: History, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    *channels, width = inputs[0]
    return (*channels, attributes.columns + width)


def describe(attributes: History) -> str:
    return f"History of {attributes.columns}"


def forward(attributes: History, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    columns, width = attributes.columns, x.shape[-1]
    streams = x.unflatten(0, (-1, attributes.pieces)).movedim(1, -2).flatten(-2)
    pieces = F.pad(streams, (columns, 0)).unfold(-1, columns + width, width)
    return pieces.movedim(-2, 1).flatten(0, 1)


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """x: int8 [batch, ..., width]."""
    a, (*rows, width) = node.attributes, x.shape[1:]
    before = np.full((*x.shape[:-1], a.columns), start_byte(quantization[0]), np.int8)
    streams = np.moveaxis(x.reshape(-1, a.pieces, *rows, width), 1, -2)
    streams = np.concatenate(
        [before[:: a.pieces], streams.reshape(-1, *rows, a.pieces * width)], axis=-1
    )
    pieces = sliding_window_view(streams, a.columns + width, axis=-1)[..., ::width, :]
    return np.moveaxis(pieces, -2, 1).reshape(*before.shape[:-1], -1)


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
