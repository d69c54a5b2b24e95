"""The count in the sparse encodings: how many weights a convolution decodes per channel.

A count is the sum of its bytes, of which all but the last are 255.
"""

from __future__ import annotations

import numpy as np

from deepcompress.ir.arrays import Int8Array, UInt8Array


def count(number: int) -> UInt8Array:
    """A count in bytes."""
    return np.array([255] * (number // 255) + [number % 255], np.uint8)


def read_count(stream: UInt8Array, position: int) -> tuple[int, int]:
    """The count that starts at a position, and the position after it."""
    number = 0
    while stream[position] == 255:
        number, position = number + 255, position + 1
    return number + int(stream[position]), position + 1


def counted_values(weight: Int8Array) -> UInt8Array:
    """Each row of int8 [rows, columns] as the count of its non-zeros, then their values."""
    rows = (row[row != 0].view(np.uint8) for row in weight)
    return np.concatenate([np.concatenate([count(len(row)), row]) for row in rows])


def read_counted_values(stream: UInt8Array, rows: int) -> list[Int8Array]:
    """The non-zero values of each row."""
    values, position = [], 0
    for _ in range(rows):
        number, position = read_count(stream, position)
        values.append(stream[position : position + number].view(np.int8))
        position += number
    return values
