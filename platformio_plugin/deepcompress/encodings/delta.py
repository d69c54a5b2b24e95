"""Delta: the non-zero weights, each with the gap to the previous one in its output channel.

    values = output channel*
    output channel = count, (gap, value)*count
    gap    = zeros since the previous weight of this channel, 0 .. 255
    value  = int8

These are groups of one weight (`groups.py`). After Dogan et al., arXiv 2103.15972, section III,
but with the length of each channel stored instead of found while reading.
"""

from __future__ import annotations

from deepcompress.encodings.groups import decode_groups, encode_groups
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode"]


def encode(weight: Int8Array) -> tuple[Array, ...]:
    meaning = "per output channel: count, then (zeros skipped, int8 weight) pairs"
    return (Array("values", encode_groups(weight, 1), meaning),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
    return decode_groups(arrays[0].values, shape, 1)
