"""Delta4: the non-zero weights, and the gap before each in half a byte.

values = output channel*
output channel = count, value*count
index  = gap of each value of all channels, low half of a byte first
gap    = 15* rest         zeros since the previous weight of this channel: they add up; rest < 15
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.count import counted_values, read_counted_values
from deepcompress.graph import Array

_ESCAPE = 15


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    nibbles = np.concatenate([_nibbles(row) for row in weight])
    padded = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
    # At least one byte, so that C has an array to name.
    index = padded[0::2] | padded[1::2] << 4 if len(padded) else np.zeros(1, np.uint8)
    return (
        Array("values", counted_values(weight), "per output channel: count, then int8 weights"),
        Array("index", index, "zeros before each weight, half a byte each, 15 means and more"),
    )


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    values, index = arrays[0].values, arrays[1].values
    nibbles = iter(np.stack([index & 15, index >> 4], axis=1).ravel().tolist())
    weight = np.zeros(shape, np.int8)
    for row, stored in zip(weight, read_counted_values(values, len(weight)), strict=True):
        at = -1
        for value in stored:
            at += 1
            while (nibble := next(nibbles)) == _ESCAPE:
                at += _ESCAPE
            at += nibble
            row[at] = value
    return weight


def entries(weight: np.ndarray) -> int:
    return max(1, int(np.count_nonzero(weight, axis=1).max()))


def _nibbles(row: np.ndarray) -> np.ndarray:
    """The gaps of one output channel, uint8 below 16."""
    gaps = np.diff(np.flatnonzero(row), prepend=-1) - 1
    escapes = gaps // _ESCAPE
    out = np.full(len(gaps) + int(escapes.sum()), _ESCAPE, np.uint8)
    out[np.cumsum(escapes + 1) - 1] = gaps % _ESCAPE
    return out
