"""Delta: the non-zero weights, each with the gap to the one before it in its output channel.

    values = output channel*
    output channel = count, (gap, value)*count
    gap    = zeros since the previous weight of this channel, 0 .. 255
    value  = int8

Groups of one. After Dogan et al., arXiv 2103.15972, section III, with each channel's length said
instead of found by reading on.
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.groups import decode_groups, encode_groups
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode"]


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    meaning = "per output channel: count, then (zeros skipped, int8 weight) pairs"
    return (Array("values", encode_groups(weight, 1), meaning),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    return decode_groups(arrays[0].values, shape, 1)
