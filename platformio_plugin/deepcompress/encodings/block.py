"""Block: groups of four neighbouring weights of which at least one is non-zero.

values = output channel*
output channel = count, value*rest, (gap, value*4)*count
rest   = the first (weights of an output channel modulo 4) weights
gap    = blocks of zeros since the previous block of this channel, 0 .. 255
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.groups import decode_groups, encode_groups
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode", "stored_weights"]

_WIDTH = 4


def encode(weight: Int8Array) -> tuple[Array, ...]:
    meaning = "per output channel: count, first weights, then (blocks skipped, 4 int8 weights)"
    return (Array("values", encode_groups(weight, _WIDTH), meaning),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
    return decode_groups(arrays[0].values, shape, _WIDTH)


def stored_weights(weight: Int8Array) -> int:
    """Number of weights, zero or not, in all blocks and rests."""
    rows, columns = weight.shape
    rest = columns % _WIDTH
    blocks = weight[:, rest:].reshape(-1, _WIDTH)
    return int(rows * rest + _WIDTH * np.count_nonzero(blocks.any(axis=1)))
