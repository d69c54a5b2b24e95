"""Codebook: the non-zero weights as packed numbers of their few values, and the gap before each.

values   = number of each weight in the codebook, `bits` wide, high bit first
index    = gap before each weight, and the one behind the last, as delta4 writes them
codebook = bits, then int8 value*2**bits at the most

Rows follow each other without a break, and the last gap ends the matrix, so that no counts are
stored. The shared weights of Han et al., Deep Compression, arXiv 1510.00149.
"""

from __future__ import annotations

import numpy as np

from deepcompress.encodings import bits
from deepcompress.encodings.delta4 import pack_gaps, unpack_gaps
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode"]

LARGEST_BITS = 6


def encode(weight: np.ndarray) -> tuple[Array, ...] | None:
    flat = weight.ravel()
    values, numbers = np.unique(flat[flat != 0], return_inverse=True)
    width = max(1, (len(values) - 1).bit_length())
    if width > LARGEST_BITS:
        return None
    # The reader looks up what it finds behind the last weight, so there is always one value.
    known = values if len(values) else np.zeros(1, np.int8)
    return (
        Array(
            "values",
            bits.pack(numbers, np.full(len(numbers), width)),
            f"numbers in the codebook, {width} bits each, high bit first",
        ),
        # As if a weight behind the last ended the matrix.
        pack_gaps([np.append(flat, 1)]),
        Array("codebook", np.append(np.uint8(width), known.view(np.uint8)), "bits, int8 weights"),
    )


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    numbers, gaps = bits.unpack(arrays[0].values), unpack_gaps(arrays[1])
    width, *values = arrays[2].values.tolist()
    weight, at = np.zeros(shape, np.int8), 0
    flat = weight.view(np.uint8).reshape(-1)
    while (at := at + next(gaps)) < len(flat):
        flat[at] = values[bits.read(numbers, width)]
        at += 1
    return weight
