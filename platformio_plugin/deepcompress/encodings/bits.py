"""Bit streams, high bit first, as the C readers see them: through a window of 4 bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deepcompress.ir.arrays import IntArray, UInt8Array

# A C reader loads 4 bytes, starting at the byte that contains the next bit.
_WINDOW = 4


def pack(codes: IntArray, lengths: IntArray) -> UInt8Array:
    """A stream of codes, followed by as many zero bytes as a reader's window may reach.

    Args:
        codes: integers [n].
        lengths: bits of each code [n]; a code with fewer significant bits gets leading zeros.
    """
    owner = np.repeat(np.arange(len(codes)), lengths)
    remaining = np.cumsum(lengths)[owner] - 1 - np.arange(len(owner))
    bits = codes[owner] >> np.minimum(remaining, 62) & 1
    stream = np.zeros(len(bits) // 8 + _WINDOW, np.uint8)
    packed = np.packbits(bits.astype(np.uint8))
    stream[: len(packed)] = packed
    return stream


def unpack(stream: UInt8Array) -> Iterator[int]:
    """The bits of a stream, one by one."""
    return iter(np.unpackbits(stream).tolist())


def read(bits: Iterator[int], length: int) -> int:
    """The next `length` bits as a number, the most significant first."""
    number = 0
    for _ in range(length):
        number = 2 * number + next(bits)
    return number
