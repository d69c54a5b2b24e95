"""Codebook: the non-zero weights as packed indices into a table, and the gap before each.

values   = index of each non-zero weight in the codebook, `bits` wide, high bit first
index    = the gap before each non-zero weight and after the last, encoded as in delta4
codebook = bits, then at most 2**bits int8 values

Rows follow each other without separators; the last gap ends the matrix, so no counts are stored.
After the shared weights of Han et al., Deep Compression, arXiv 1510.00149.
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings import bits
from deepcompress.encodings.delta4 import pack_gaps, unpack_gaps
from deepcompress.encodings.refusal import Refusal
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode"]

LARGEST_BITS = 6
_TOO_MANY = Refusal(
    "have too many different values", f"Retrain with codebook_bits = {LARGEST_BITS} or less"
)


def encode(weight: Int8Array) -> tuple[Array, ...] | Refusal:
    flat = weight.ravel()
    values, indices = np.unique(flat[flat != 0], return_inverse=True)
    width = max(1, (len(values) - 1).bit_length())
    if width > LARGEST_BITS:
        return _TOO_MANY
    # The reader looks up one more value after the last weight, so the codebook is never empty.
    table = values if len(values) else np.zeros(1, np.int8)
    return (
        Array(
            "values",
            bits.pack(indices, np.full(len(indices), width)),
            f"numbers in the codebook, {width} bits each, high bit first",
        ),
        # An additional weight after the last one stands for the end of the matrix.
        pack_gaps([np.append(flat, np.int8(1))]),
        Array("codebook", np.append(np.uint8(width), table.view(np.uint8)), "bits, int8 weights"),
    )


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
    indices, gaps = bits.unpack(arrays[0].values), unpack_gaps(arrays[1])
    width, *values = arrays[2].values.tolist()
    weight, position = np.zeros(shape, np.int8), 0
    flat = weight.view(np.uint8).reshape(-1)
    while (position := position + next(gaps)) < len(flat):
        flat[position] = values[bits.read(indices, width)]
        position += 1
    return weight
