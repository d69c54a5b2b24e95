"""Huffman: gaps and weights as codes of one bitstream, as short as they are frequent.

values   = (gap, weight)* gap
codebook = k, then for lengths 1, 2, ...: how many codes have it, and their weights
gap      = Rice code: zeros // 2**k as so many 0 bits and a 1, then zeros % 2**k in k bits
weight   = canonical Huffman code

Rows follow each other without a break, and the last gap ends the matrix, so that no counts are
stored. With k = 255 there are no gaps: every weight has a code, zero too. After Han et al., Deep
Compression, arXiv 1510.00149.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deepcompress.encodings import bits
from deepcompress.ir.graph import Array

__all__ = ["decode", "encode"]

_NO_GAPS = 255
# The reader takes 8 bits of a gap's zeros and its k bits out of a window of at least 25.
_LARGEST_K = 12
_LONGEST_CODE = 15


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    flat = weight.ravel()
    forms = [_with_gaps(flat)]
    # How many codes have a length is a byte, which 256 different weights could exceed.
    if len(np.unique(flat)) < 256:
        forms.append(_without_gaps(flat))
    stream, codebook = min(forms, key=lambda form: len(form[0]) + len(form[1]))
    return (
        Array("values", stream, "Rice codes of gaps and Huffman codes of weights, high bit first"),
        Array("codebook", codebook, "k, then per length of code: count, then int8 weights"),
    )


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    stream, codebook = bits.unpack(arrays[0].values), arrays[1].values.tolist()
    k, weight, at = codebook[0], np.zeros(shape, np.int8), 0
    values = weight.view(np.uint8).reshape(-1)
    while True:
        at += _read_gap(stream, k) if k != _NO_GAPS else 0
        if at == weight.size:
            return weight
        values[at] = _read_value(stream, codebook)
        at += 1


def _with_gaps(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stream and the codebook of the non-zero weights and the gaps between them."""
    # As if a weight behind the last ended the matrix.
    gaps = np.diff(np.flatnonzero(np.append(flat, 1)), prepend=-1) - 1
    k = min(range(_LARGEST_K + 1), key=lambda k: int((gaps >> k).sum()) + k * len(gaps))
    codes, lengths, codebook = _huffman(flat[flat != 0])
    gap_codes = 1 << k | gaps & (1 << k) - 1
    gap_lengths = (gaps >> k) + 1 + k
    return (
        bits.pack(_alternate(gap_codes, codes), _alternate(gap_lengths, lengths)),
        np.append(np.uint8(k), codebook),
    )


def _without_gaps(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stream and the codebook of all weights, zero or not."""
    codes, lengths, codebook = _huffman(flat)
    return bits.pack(codes, lengths), np.append(np.uint8(_NO_GAPS), codebook)


def _alternate(gaps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """gap, value, gap, ... gap."""
    return np.insert(gaps, np.arange(1, len(values) + 1), values)


def _huffman(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The code and the length of each value, and the codebook behind k."""
    # The reader looks up what it finds behind the last weight, so there is always one code.
    known = values if len(values) else np.zeros(1, np.int8)
    symbols, owner, counts = np.unique(known, return_inverse=True, return_counts=True)
    lengths = _code_lengths(counts)
    codes, codebook = np.zeros(len(symbols), np.int64), []
    code = 0
    for length in range(1, lengths.max() + 1):
        having = np.flatnonzero(lengths == length)
        codes[having] = code + np.arange(len(having))
        codebook += [len(having), *symbols[having].view(np.uint8).tolist()]
        code = 2 * (code + len(having))
    owner = owner[: len(values)]
    return codes[owner], lengths[owner], np.array(codebook, np.uint8)


def _code_lengths(counts: np.ndarray) -> np.ndarray:
    """Lengths of the codes, limited so that the stream and a byte for each length are smallest."""
    shortest = max(1, int(len(counts) - 1).bit_length())
    limited = (package_merge(counts, limit) for limit in range(shortest, _LONGEST_CODE + 1))
    return min(limited, key=lambda lengths: int(lengths @ counts) + 8 * int(lengths.max()))


def package_merge(counts: np.ndarray, limit: int) -> np.ndarray:
    """Lengths of the optimal prefix code of no more than `limit` bits for symbols so frequent.

    After Larmore and Hirschberg, A fast algorithm for optimal length-limited Huffman codes, 1990:
    a symbol's length is how often it is in the cheapest packages.
    """
    if len(counts) == 1:
        return np.ones(1, np.int64)
    symbols = np.eye(len(counts), dtype=np.int64)
    leaves = [(int(count), i) for i, count in enumerate(counts)]
    packages: list[tuple[int, np.ndarray]] = []
    for _ in range(limit):
        merged = [(count, symbols[i]) for count, i in leaves] + packages
        merged.sort(key=lambda item: item[0])
        packages = [
            (a + b, left + right)
            for (a, left), (b, right) in zip(merged[::2], merged[1::2], strict=False)
        ]
    return sum(members for _, members in packages[: len(counts) - 1])


def _read_gap(stream: Iterator[int], k: int) -> int:
    quotient = 0
    while next(stream) == 0:
        quotient += 1
    return quotient << k | bits.read(stream, k)


def _read_value(stream: Iterator[int], codebook: list[int]) -> int:
    """As the C reader: `code` counts from the first of its length."""
    code, at = 0, 1
    while True:
        code = 2 * code + next(stream)
        if code < codebook[at]:
            return codebook[at + 1 + code]
        code -= codebook[at]
        at += 1 + codebook[at]
