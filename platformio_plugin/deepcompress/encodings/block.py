"""Block: four neighbouring weights at a time, where any of them is not zero.

values         = output channel*
output channel = count, value*rest, (gap, value*4)*count
rest           = weights of an output channel modulo 4, the first ones of it
gap            = blocks of zeros since the previous block of this channel, written as a count
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.count import count, entries, read_count
from deepcompress.graph import Array

__all__ = ["decode", "encode", "entries", "stored_weights"]

WIDTH = 4


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    stream = [part for row in weight for part in _channel(row)]
    meaning = "per output channel: count, first weights, then (blocks skipped, 4 int8 weights)"
    return (Array("values", np.concatenate(stream), meaning),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    stream, weight, at = arrays[0].values, np.zeros(shape, np.uint8), 0
    rest = shape[1] % WIDTH
    for row in weight:
        stored, at = read_count(stream, at)
        row[:rest] = stream[at : at + rest]
        at, column = at + rest, rest
        for _ in range(stored):
            gap, at = read_count(stream, at)
            column += gap * WIDTH
            row[column : column + WIDTH] = stream[at : at + WIDTH]
            at, column = at + WIDTH, column + WIDTH
    return weight.view(np.int8)


def stored_weights(weight: np.ndarray) -> int:
    """Weights of all stored blocks and of the rests before them."""
    rows, columns = weight.shape
    rest = columns % WIDTH
    blocks = weight[:, rest:].reshape(-1, WIDTH)
    return rows * rest + WIDTH * int(np.count_nonzero(blocks.any(axis=1)))


def _channel(row: np.ndarray) -> list[np.ndarray]:
    """The parts of one output channel, uint8."""
    rest = len(row) % WIDTH
    blocks = row[rest:].reshape(-1, WIDTH).view(np.uint8)
    stored = np.flatnonzero(blocks.any(axis=1))
    gaps = np.diff(stored, prepend=-1) - 1
    parts = [count(len(stored)), row[:rest].view(np.uint8)]
    for gap, at in zip(gaps, stored, strict=True):
        parts += [count(int(gap)), blocks[at]]
    return parts
