"""Bitmap: one bit per weight that says whether it is non-zero, and the non-zero weights.

values = output channel*
output channel = count, value*count
index  = one bit per weight, low bit first, 1 if it is non-zero; each channel starts a new byte
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings.count import counted_values, read_counted_values
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode"]


def encode(weight: Int8Array) -> tuple[Array, ...]:
    index = np.packbits(weight != 0, axis=1, bitorder="little").ravel()
    return (
        Array("values", counted_values(weight), "per output channel: count, then int8 weights"),
        Array("index", index, "one bit per weight, low bit first, 1 if it is not zero"),
    )


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
    bits = arrays[1].values.reshape(shape[0], -1)
    present = np.unpackbits(bits, axis=1, count=shape[1], bitorder="little").astype(bool)
    weight = np.zeros(shape, np.int8)
    weight[present] = np.concatenate(read_counted_values(arrays[0].values, shape[0]))
    return weight
