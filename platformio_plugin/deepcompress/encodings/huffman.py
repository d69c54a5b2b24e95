"""Huffman: entropy-coded gaps and weights in one bit stream.

values   = (gap, weight)* gap
codebook = k, then for code lengths 1, 2, ...: number of codes of that length, and their weights
gap      = Rice code: (zeros // 2**k) times a 0 bit, a 1 bit, then zeros % 2**k in k bits
weight   = canonical Huffman code

Rows follow each other without separators; the last gap ends the matrix, so no counts are stored.
With k = 255 there are no gaps: every weight has a code, including zero. After Han et al., Deep
Compression, arXiv 1510.00149.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deepcompress.encodings import bits
from deepcompress.ir.arrays import Int8Array, Int64Array, IntArray, UInt8Array
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode"]

_NO_GAPS = 255
# The reader takes 8 bits of a gap's zeros and its k bits from a window of at least 25 bits.
_LARGEST_K = 12
_LONGEST_CODE = 15


def encode(weight: Int8Array) -> tuple[Array, ...]:
    flat = weight.ravel()
    forms = [_with_gaps(flat)]
    # The number of codes of a length is a byte, which 256 different weights could exceed.
    if len(np.unique(flat)) < 256:
        forms.append(_without_gaps(flat))
    stream, codebook = min(forms, key=lambda form: len(form[0]) + len(form[1]))
    return (
        Array("values", stream, "Rice codes of gaps and Huffman codes of weights, high bit first"),
        Array("codebook", codebook, "k, then per length of code: count, then int8 weights"),
    )


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
    stream, codebook = bits.unpack(arrays[0].values), arrays[1].values.tolist()
    k, weight, position = codebook[0], np.zeros(shape, np.int8), 0
    values = weight.view(np.uint8).reshape(-1)
    while True:
        position += _read_gap(stream, k) if k != _NO_GAPS else 0
        if position == weight.size:
            return weight
        values[position] = _read_value(stream, codebook)
        position += 1


def _with_gaps(flat: Int8Array) -> tuple[UInt8Array, UInt8Array]:
    """The stream and the codebook of the non-zero weights and the gaps between them."""
    # An additional weight after the last one stands for the end of the matrix.
    gaps = np.diff(np.flatnonzero(np.append(flat, 1)), prepend=-1) - 1
    k = min(range(_LARGEST_K + 1), key=lambda k: int((gaps >> k).sum()) + k * len(gaps))
    codes, lengths, codebook = _huffman(flat[flat != 0])
    gap_codes = 1 << k | gaps & (1 << k) - 1
    gap_lengths = (gaps >> k) + 1 + k
    return (
        bits.pack(_alternate(gap_codes, codes), _alternate(gap_lengths, lengths)),
        np.append(np.uint8(k), codebook),
    )


def _without_gaps(flat: Int8Array) -> tuple[UInt8Array, UInt8Array]:
    """The stream and the codebook of all weights, zero or not."""
    codes, lengths, codebook = _huffman(flat)
    return bits.pack(codes, lengths), np.append(np.uint8(_NO_GAPS), codebook)


def _alternate(gaps: IntArray, values: IntArray) -> IntArray:
    """gap, value, gap, ... gap."""
    return np.insert(gaps, np.arange(1, len(values) + 1), values)


def _huffman(values: Int8Array) -> tuple[Int64Array, Int64Array, UInt8Array]:
    """The code and the length of each value, and the codebook without k."""
    # The reader looks up one more code after the last weight, so there is always one.
    coded = values if len(values) else np.zeros(1, np.int8)
    symbols, owner, counts = np.unique(coded, return_inverse=True, return_counts=True)
    lengths = _code_lengths(counts)
    codes = np.zeros(len(symbols), np.int64)
    codebook: list[int] = []
    code = 0
    for length in range(1, int(lengths.max()) + 1):
        of_length = np.flatnonzero(lengths == length)
        codes[of_length] = code + np.arange(len(of_length))
        codebook += [len(of_length), *symbols[of_length].view(np.uint8).tolist()]
        code = 2 * (code + len(of_length))
    owner = owner[: len(values)]
    return codes[owner], lengths[owner], np.array(codebook, np.uint8)


def _code_lengths(counts: Int64Array) -> Int64Array:
    """The code lengths that minimize the stream plus one byte per length, limited to 15 bits."""
    shortest = max(1, int(len(counts) - 1).bit_length())
    limited = (package_merge(counts, limit) for limit in range(shortest, _LONGEST_CODE + 1))
    return min(limited, key=lambda lengths: int(lengths @ counts) + 8 * int(lengths.max()))


def package_merge(counts: Int64Array, limit: int) -> Int64Array:
    """Code lengths of the optimal prefix code of at most `limit` bits.

    After Larmore and Hirschberg, A fast algorithm for optimal length-limited Huffman codes, 1990:
    the length of a symbol's code is how often the symbol occurs in the cheapest packages.

    Args:
        counts: how often each symbol occurs.
    """
    if len(counts) == 1:
        return np.ones(1, np.int64)
    symbols = np.eye(len(counts), dtype=np.int64)
    leaves = [(int(count), i) for i, count in enumerate(counts)]
    packages: list[tuple[int, Int64Array]] = []
    for _ in range(limit):
        merged = [(count, symbols[i]) for count, i in leaves] + packages
        merged.sort(key=lambda item: item[0])
        packages = [
            (a + b, left + right)
            for (a, left), (b, right) in zip(merged[::2], merged[1::2], strict=False)
        ]
    lengths: Int64Array = np.sum([members for _, members in packages[: len(counts) - 1]], axis=0)
    return lengths


def _read_gap(stream: Iterator[int], k: int) -> int:
    quotient = 0
    while next(stream) == 0:
        quotient += 1
    return quotient << k | bits.read(stream, k)


def _read_value(stream: Iterator[int], codebook: list[int]) -> int:
    """A weight, decoded as in the C reader: `code` counts from the first code of its length."""
    code, position = 0, 1
    while True:
        code = 2 * code + next(stream)
        if code < codebook[position]:
            return codebook[position + 1 + code]
        code -= codebook[position]
        position += 1 + codebook[position]
