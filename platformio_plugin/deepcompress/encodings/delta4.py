"""Delta4: the non-zero weights, and the gap before each in half a byte.

values = output channel*
output channel = count, value*count
index  = gap of each value of all channels, low half of a byte first
gap    = 15* rest         zeros since the previous weight of this channel: they add up; rest < 15
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from deepcompress.encodings.count import counted_values, read_counted_values
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode", "pack_gaps", "unpack_gaps"]

_ESCAPE = 15


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    return (
        Array("values", counted_values(weight), "per output channel: count, then int8 weights"),
        pack_gaps(weight),
    )


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    weight, gaps = np.zeros(shape, np.int8), unpack_gaps(arrays[1])
    for row, values in zip(weight, read_counted_values(arrays[0].values, len(weight)), strict=True):
        at = -1
        for value in values:
            at += next(gaps) + 1
            row[at] = value
    return weight


def pack_gaps(rows: Sequence[np.ndarray]) -> Array:
    """The index: the gap before each non-zero weight, counted anew in each row."""
    nibbles = np.concatenate([_nibbles(row) for row in rows])
    padded = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
    # At least one byte, so that C has an array to name.
    index = padded[0::2] | padded[1::2] << 4 if len(padded) else np.zeros(1, np.uint8)
    return Array("index", index, "zeros before each weight, half a byte each, 15 means and more")


def unpack_gaps(index: Array) -> Iterator[int]:
    """The gaps again, one by one."""
    gap = 0
    for nibble in np.stack([index.values & 15, index.values >> 4], axis=1).ravel().tolist():
        gap += nibble
        if nibble != _ESCAPE:
            yield gap
            gap = 0


def _nibbles(row: np.ndarray) -> np.ndarray:
    """The gaps of one output channel, uint8 below 16."""
    gaps = np.diff(np.flatnonzero(row), prepend=-1) - 1
    escapes = gaps // _ESCAPE
    out = np.full(len(gaps) + int(escapes.sum()), _ESCAPE, np.uint8)
    out[np.cumsum(escapes + 1) - 1] = gaps % _ESCAPE
    return out
