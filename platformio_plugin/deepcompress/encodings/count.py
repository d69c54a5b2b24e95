"""What the sparse encodings share: a count, and how many weights a convolution decodes.

A count is bytes that add up, all but the last of them 255.
"""

from __future__ import annotations

import numpy as np


def count(number: int) -> np.ndarray:
    return np.array([255] * (number // 255) + [number % 255], np.uint8)


def read_count(stream: np.ndarray, at: int) -> tuple[int, int]:
    """The count that begins at a place, and the place behind it."""
    number = 0
    while stream[at] == 255:
        number, at = number + 255, at + 1
    return number + int(stream[at]), at + 1


def counted_values(weight: np.ndarray) -> np.ndarray:
    """uint8: each row of int8 [rows, columns] as its count of non-zeros, then their values."""
    rows = (row[row != 0].view(np.uint8) for row in weight)
    return np.concatenate([np.concatenate([count(len(row)), row]) for row in rows])


def read_counted_values(stream: np.ndarray, rows: int) -> list[np.ndarray]:
    """The values of each row, int8."""
    values, at = [], 0
    for _ in range(rows):
        number, at = read_count(stream, at)
        values.append(stream[at : at + number].view(np.int8))
        at += number
    return values
