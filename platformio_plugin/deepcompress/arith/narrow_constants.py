"""Biases and multipliers no wider than they need to be.

A factor 2**shift that all of a layer's have in common is taken out, the rest lies in flash as int8,
int16 or int32, and as a single number where all are the same.
"""

from __future__ import annotations

import numpy as np

from deepcompress.ir.arrays import frozen
from deepcompress.ir.graph import Constants, EncodedWeight, WeightedNode

_WIDTHS = (np.int8, np.int16, np.int32)


def narrow(values: np.ndarray) -> Constants:
    """int32 [channels] in as few bytes as hold it."""
    wide = values.astype(np.int64)
    shift = _trailing_zeros(int(np.bitwise_or.reduce(wide)))
    reduced = wide >> shift
    if (reduced == reduced[0]).all():
        reduced = reduced[:1]
    width = next(width for width in _WIDTHS if (reduced.astype(width) == reduced).all())
    return Constants(frozen(reduced.astype(width)), shift)


def _trailing_zeros(bits: int) -> int:
    """0 of 0: what is nothing needs no shift."""
    return (bits & -bits).bit_length() - 1 if bits else 0


def widen(constants: Constants, channels: int) -> np.ndarray:
    """int64 [channels]: what `dc_constant` reads."""
    return np.broadcast_to(constants.stored.astype(np.int64) << constants.shift, channels)


def unfolded_bias(node: WeightedNode, zero_point: int) -> np.ndarray:
    """int64 [channels]: the bias without the input's zero point in it."""
    return node.bias + zero_point * node.weight.sum(axis=1, dtype=np.int64)


def folded_bias(node: WeightedNode, stored: EncodedWeight) -> np.ndarray:
    """int64 [channels]: what the kernel makes of the stored bias; `node.bias` if all is right."""
    sums = node.weight.sum(axis=1, dtype=np.int64)
    return widen(stored.bias, len(sums)) - stored.zero_point * sums


def may_unfold(node: WeightedNode, zero_point: int) -> bool:
    """Whether the kernel can take the zero point off the inputs within 32 bits, at every step."""
    largest = np.abs(unfolded_bias(node, zero_point))
    largest += (128 + abs(zero_point)) * np.abs(node.weight.astype(np.int64)).sum(axis=1)
    return zero_point != 0 and bool(largest.max() < 2**31)
