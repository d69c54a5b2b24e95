"""Groups of neighbouring weights of which at least one is non-zero: `delta` and `block` use them.

output channel = count, value*rest, (gap, value*width)*count
count          = the sum of bytes of which all but the last are 255
rest           = the first (weights of an output channel modulo width) weights
gap            = groups of zeros since the previous group of this channel, 0 .. 255

A gap of more than 255 groups is stored as a gap of 255 and a group of zeros, repeatedly.
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.count import count, read_count
from deepcompress.ir.arrays import Int8Array, UInt8Array

_LARGEST_GAP = 255


def encode_groups(weight: Int8Array, width: int) -> UInt8Array:
    """All output channels of int8 [output channels, columns] in groups of `width` weights."""
    return np.concatenate([part for row in weight for part in _channel(row, width)])


def decode_groups(stream: UInt8Array, shape: tuple[int, int], width: int) -> Int8Array:
    """The matrix that was encoded, int8 [rows, columns]."""
    weight, position = np.zeros(shape, np.uint8), 0
    rest = shape[1] % width
    for row in weight:
        stored, position = read_count(stream, position)
        row[:rest] = stream[position : position + rest]
        position += rest
        groups = stream[position : position + stored * (1 + width)].reshape(stored, 1 + width)
        position += groups.size
        ends = np.cumsum(groups[:, 0].astype(np.int64) + 1) - 1
        row[rest:].reshape(-1, width)[ends] = groups[:, 1:]
    return weight.view(np.int8)


def _channel(row: Int8Array, width: int) -> list[UInt8Array]:
    """The parts of one output channel."""
    rest = len(row) % width
    grid = row[rest:].reshape(-1, width).view(np.uint8)
    positions = np.flatnonzero(grid.any(axis=1))
    gaps = np.diff(positions, prepend=-1) - 1
    bridges = gaps // (_LARGEST_GAP + 1)
    ends = np.cumsum(bridges + 1) - 1
    groups = np.zeros((len(positions) + int(bridges.sum()), 1 + width), np.uint8)
    groups[:, 0] = _LARGEST_GAP
    groups[ends, 0] = gaps - bridges * (_LARGEST_GAP + 1)
    groups[ends, 1:] = grid[positions]
    return [count(len(groups)), row[:rest].view(np.uint8), groups.ravel()]
