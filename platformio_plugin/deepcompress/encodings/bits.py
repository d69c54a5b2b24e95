"""Streams of bits, high bit first, as the C readers see them: through a window of 4 bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# A reader looks at 4 bytes from the one that its next bit lies in.
_WINDOW = 4


def pack(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """uint8: codes of so many bits, one behind the other, and zeros as far as the window sees.

    Where a length is more than the bits of its code, zeros come before it.
    """
    owner = np.repeat(np.arange(len(codes)), lengths)
    left = np.cumsum(lengths)[owner] - 1 - np.arange(len(owner))
    bits = codes[owner] >> np.minimum(left, 62) & 1
    stream = np.zeros(len(bits) // 8 + _WINDOW, np.uint8)
    packed = np.packbits(bits.astype(np.uint8))
    stream[: len(packed)] = packed
    return stream


def unpack(stream: np.ndarray) -> Iterator[int]:
    """The bits of a stream, one by one."""
    return iter(np.unpackbits(stream).tolist())


def read(bits: Iterator[int], length: int) -> int:
    """The next bits as a number, the first of them the highest."""
    number = 0
    for _ in range(length):
        number = 2 * number + next(bits)
    return number
