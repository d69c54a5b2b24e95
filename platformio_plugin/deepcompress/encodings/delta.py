"""Delta: the non-zero weights, each with the gap to the one before it in its output channel.

    values = output channel*
    output channel = count, (gap, value)*count
    count  = 255* rest          sum of the bytes; rest < 255
    gap    = zeros since the previous weight of this channel, 0 .. 255
    value  = int8

A gap of more than 255 zeros is bridged by the pair (255, 0), a weight of zero. After Dogan et al.,
arXiv 2103.15972, section III, with each channel's length said instead of found by reading on.
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.count import count, entries, read_count
from deepcompress.graph import Array

__all__ = ["decode", "encode", "entries"]

LARGEST_GAP = 255


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    channels = [np.concatenate([count(len(p)), p.ravel()]) for p in map(_pairs, weight)]
    meaning = "per output channel: count, then (zeros skipped, int8 weight) pairs"
    return (Array("values", np.concatenate(channels), meaning),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    stream, weight, at = arrays[0].values, np.zeros(shape, np.int8), 0
    for row in weight:
        stored, at = read_count(stream, at)
        pairs = stream[at : at + 2 * stored].reshape(stored, 2)
        row[np.cumsum(pairs[:, 0].astype(np.int64) + 1) - 1] = pairs[:, 1].view(np.int8)
        at += 2 * stored
    return weight


def _pairs(row: np.ndarray) -> np.ndarray:
    """uint8 [count, 2] of (gap, value) of one output channel, bridges included."""
    at = np.flatnonzero(row)
    gaps = np.diff(at, prepend=-1) - 1
    bridges = gaps // (LARGEST_GAP + 1)
    ends = np.cumsum(bridges + 1) - 1
    out = np.tile(np.array([LARGEST_GAP, 0], np.uint8), (len(at) + int(bridges.sum()), 1))
    out[ends, 0] = gaps - bridges * (LARGEST_GAP + 1)
    out[ends, 1] = row[at].view(np.uint8)
    return out
