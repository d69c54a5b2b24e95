"""Delta4: the non-zero weights, and the gap before each in half a byte.

values = output channel*
output channel = count, value*count
index  = the gap before each value of all channels, low half of a byte first
gap    = 15* rest         zeros since the previous weight of this channel: the sum; rest < 15
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from deepcompress.encodings.count import counted_values, read_counted_values
from deepcompress.ir.arrays import Int8Array, UInt8Array
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode", "pack_gaps", "unpack_gaps"]

_ESCAPE = 15


def encode(weight: Int8Array) -> tuple[Array, ...]:
    return (
        Array("values", counted_values(weight), "per output channel: count, then int8 weights"),
        pack_gaps(weight),
    )


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
    weight, gaps = np.zeros(shape, np.int8), unpack_gaps(arrays[1])
    for row, values in zip(weight, read_counted_values(arrays[0].values, len(weight)), strict=True):
        position = -1
        for value in values:
            position += next(gaps) + 1
            row[position] = value
    return weight


def pack_gaps(rows: Iterable[Int8Array]) -> Array:
    """The index: the gap before each non-zero weight; each row starts a new gap."""
    nibbles = np.concatenate([_nibbles(row) for row in rows])
    padded = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
    # C has no arrays of length zero.
    index = padded[0::2] | padded[1::2] << 4 if len(padded) else np.zeros(1, np.uint8)
    return Array("index", index, "zeros before each weight, half a byte each, 15 means and more")


def unpack_gaps(index: Array) -> Iterator[int]:
    """The gaps, one by one."""
    gap = 0
    for nibble in np.stack([index.values & 15, index.values >> 4], axis=1).ravel().tolist():
        gap += nibble
        if nibble != _ESCAPE:
            yield gap
            gap = 0


def _nibbles(row: Int8Array) -> UInt8Array:
    """The gaps of one output channel as numbers below 16."""
    gaps = np.diff(np.flatnonzero(row), prepend=-1) - 1
    escapes = gaps // _ESCAPE
    nibbles = np.full(len(gaps) + int(escapes.sum()), _ESCAPE, np.uint8)
    nibbles[np.cumsum(escapes + 1) - 1] = gaps % _ESCAPE
    return nibbles
