"""Groups: so many neighbouring weights at a time, where any of them is not zero.

output channel = count, value*rest, (gap, value*width)*count
count          = bytes that add up, all but the last of them 255
rest           = weights of an output channel modulo the width, the first ones of it
gap            = groups of zeros since the previous group of this channel, 0 .. 255

A gap of more than 255 groups is bridged by a gap of 255 and a group of zeros.
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.count import count, read_count

_LARGEST_GAP = 255


def encode_groups(weight: np.ndarray, width: int) -> np.ndarray:
    """uint8: all output channels of an int8 matrix."""
    return np.concatenate([part for row in weight for part in _channel(row, width)])


def decode_groups(stream: np.ndarray, shape: tuple[int, int], width: int) -> np.ndarray:
    """The matrix again, int8 [rows, columns]."""
    weight, at = np.zeros(shape, np.uint8), 0
    rest = shape[1] % width
    for row in weight:
        stored, at = read_count(stream, at)
        row[:rest] = stream[at : at + rest]
        at += rest
        groups = stream[at : at + stored * (1 + width)].reshape(stored, 1 + width)
        at += groups.size
        ends = np.cumsum(groups[:, 0].astype(np.int64) + 1) - 1
        row[rest:].reshape(-1, width)[ends] = groups[:, 1:]
    return weight.view(np.int8)


def _channel(row: np.ndarray, width: int) -> list[np.ndarray]:
    """The parts of one output channel, uint8."""
    rest = len(row) % width
    grid = row[rest:].reshape(-1, width).view(np.uint8)
    at = np.flatnonzero(grid.any(axis=1))
    gaps = np.diff(at, prepend=-1) - 1
    bridges = gaps // (_LARGEST_GAP + 1)
    ends = np.cumsum(bridges + 1) - 1
    groups = np.zeros((len(at) + int(bridges.sum()), 1 + width), np.uint8)
    groups[:, 0] = _LARGEST_GAP
    groups[ends, 0] = gaps - bridges * (_LARGEST_GAP + 1)
    groups[ends, 1:] = grid[at]
    return [count(len(groups)), row[:rest].view(np.uint8), groups.ravel()]
