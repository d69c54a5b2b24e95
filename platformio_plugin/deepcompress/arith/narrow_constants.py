"""Biases and multipliers in the smallest dtype that holds them.

A factor 2**shift that all constants of a layer have in common is taken out. The rest is stored as
int8, int16 or int32, and as a single number if all channels have the same.
"""

from __future__ import annotations

import numpy as np

from deepcompress.ir.arrays import Int64Array, IntArray, frozen
from deepcompress.ir.graph import Constants, EncodedWeight, WeightedNode

_DTYPES = (np.int8, np.int16, np.int32)


def in_smallest_dtype(values: IntArray) -> Constants:
    """int32 [channels] in as few bytes as possible."""
    wide = values.astype(np.int64)
    shift = _trailing_zeros(int(np.bitwise_or.reduce(wide)))
    reduced = wide >> shift
    if (reduced == reduced[0]).all():
        reduced = reduced[:1]
    dtype = next(dtype for dtype in _DTYPES if (reduced.astype(dtype) == reduced).all())
    return Constants(frozen(reduced.astype(dtype)), shift)


def _trailing_zeros(bits: int) -> int:
    """Number of trailing zero bits; 0 for 0, which needs no shift."""
    return (bits & -bits).bit_length() - 1 if bits else 0


def widen(constants: Constants, channels: int) -> Int64Array:
    """int64 [channels]: the values that `dc_constant` in C reads."""
    return np.broadcast_to(constants.stored.astype(np.int64) << constants.shift, channels)


def unfolded_bias(node: WeightedNode, zero_point: int) -> Int64Array:
    """int64 [channels]: the bias without the input's zero point folded in."""
    bias: Int64Array = node.bias + zero_point * _row_sums(node)
    return bias


def folded_bias(node: WeightedNode, stored: EncodedWeight) -> Int64Array:
    """int64 [channels]: the bias that the kernel applies; must be equal to `node.bias`."""
    bias: Int64Array = widen(stored.bias, len(node.weight)) - stored.zero_point * _row_sums(node)
    return bias


def _row_sums(node: WeightedNode) -> Int64Array:
    sums: Int64Array = node.weight.sum(axis=1, dtype=np.int64)
    return sums


def may_unfold(node: WeightedNode, zero_point: int) -> bool:
    """Whether sums of (input - zero point) * weight fit 32 bits at every step."""
    largest = np.abs(unfolded_bias(node, zero_point))
    largest += (128 + abs(zero_point)) * np.abs(node.weight.astype(np.int64)).sum(axis=1)
    return zero_point != 0 and bool(largest.max() < 2**31)
