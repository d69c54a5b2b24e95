"""Block: four neighbouring weights at a time, where any of them is not zero.

    values = output channel*
    output channel = count, value*rest, (gap, value*4)*count
    rest   = weights of an output channel modulo 4, the first ones of it
    gap    = blocks of zeros since the previous block of this channel, 0 .. 255

Groups of four.
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.groups import decode_groups, encode_groups
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode", "stored_weights"]

_WIDTH = 4


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    meaning = "per output channel: count, first weights, then (blocks skipped, 4 int8 weights)"
    return (Array("values", encode_groups(weight, _WIDTH), meaning),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    return decode_groups(arrays[0].values, shape, _WIDTH)


def stored_weights(weight: np.ndarray) -> int:
    """Weights, zero or not, of all blocks and of the rests before them."""
    rows, columns = weight.shape
    rest = columns % _WIDTH
    blocks = weight[:, rest:].reshape(-1, _WIDTH)
    return rows * rest + _WIDTH * int(np.count_nonzero(blocks.any(axis=1)))
