"""Requantization: from an int32 accumulator to an int8 activation, in integer arithmetic only.

    q = clamp((((int64)acc * multiplier[channel] + (1 << (shift - 1))) >> shift) + zero_point)

It rounds once, halves towards plus infinity. All channels of a layer share the shift, so that the
C compiler sees a constant; with a shift of 32 the expression is one SMMULR on Armv7E-M. (gemmlowp
and TFLite round twice and store one shift per channel: Jacob et al., arXiv 1712.05877, section
2.2.)
"""

from __future__ import annotations

import numpy as np

from deepcompress.ir.arrays import AnyArray, Float64Array, Int8Array, Int32Array, IntArray
from deepcompress.ir.graph import Requantize

PREFERRED_SHIFT = 32

# The largest useful shift of a 64-bit product.
_LARGEST_SHIFT = 62

# Significant bits of a multiplier that is stored as int8 or int16, without its trailing zeros.
_BYTE_BITS = 7
_SHORT_BITS = 15
# The largest multiplier of 15 significant bits that fits int32.
_LARGEST_MULTIPLIER = (2**_SHORT_BITS - 1) * 2**16

# Below this, rounding a multiplier (by half a unit) may move one of 255 output steps by 1/16.
_PRECISE_MULTIPLIER = 2**11
# Below this, the next multiplier is larger by more than an eighth.
_FINE_MULTIPLIER = 2**3


def round_up_factors(real: Float64Array) -> Float64Array:
    """The next larger factors that multipliers of 7 significant bits represent exactly.

    If 7 bits would enlarge one of the factors by more than an eighth, 15 bits are used; if even
    these would, the factors are returned unchanged.

    Args:
        real: float64 [channels], each above 0.
    """
    for bits in (_BYTE_BITS, _SHORT_BITS):
        unit = _unit(float(real.max()), bits)
        if real.min() >= _FINE_MULTIPLIER * unit:
            rounded: Float64Array = np.ceil(real / unit) * unit
            return rounded
    return real


def _unit(largest: float, bits: int) -> float:
    """The smallest power of two of which `largest` is a multiple by at most `bits` bits."""
    return float(2.0 ** np.ceil(np.log2(largest / (2**bits - 1))))


def choose_multipliers(real: Float64Array) -> tuple[Int32Array, int]:
    """Integer multipliers and their common shift.

    Args:
        real: float64 [channels], input scale * weight scale / output scale, each in 0 .. 1.

    Returns:
        int32 [channels], of at most 15 significant bits if that is precise enough; and the shift,
        which is 32 if that is precise enough.

    Raises:
        ValueError: a factor is not in 0 .. 1.
    """
    largest = float(real.max())
    if not 0 <= largest <= 1:
        raise ValueError(f"a requantize factor of {largest} is outside 0 .. 1")
    shift = PREFERRED_SHIFT
    while largest * 2.0**shift > _LARGEST_MULTIPLIER:
        shift -= 1
    positive = real[real > 0]
    if not len(positive):
        return np.zeros(len(real), np.int32), shift
    smallest = float(positive.min())
    while (
        smallest * 2.0**shift < _PRECISE_MULTIPLIER
        and largest * 2.0 ** (shift + 1) <= _LARGEST_MULTIPLIER
        and shift < _LARGEST_SHIFT
    ):
        shift += 1
    unit = max(1.0, _unit(largest * 2.0**shift, _SHORT_BITS))
    if smallest * 2.0**shift < _PRECISE_MULTIPLIER * unit:
        unit = 1.0
    return (np.round(real * 2.0**shift / unit) * unit).astype(np.int32), shift


def requantize(accumulator: IntArray, multiplier: IntArray, by: Requantize) -> Int8Array:
    """int8 activations from accumulators.

    Args:
        accumulator: integers [batch, channels, *spatial] that fit int32.
        multiplier: int32 [channels], or [1] for all channels.

    Returns:
        int8 [batch, channels, *spatial].
    """
    channels = multiplier.reshape((1, -1) + (1,) * (accumulator.ndim - 2)).astype(np.int64)
    product = accumulator.astype(np.int64) * channels + (1 << (by.shift - 1))
    return saturate((product >> by.shift) + by.zero_point, (by.minimum, by.maximum))


def saturate(values: AnyArray, limits: tuple[int, int]) -> Int8Array:
    """Integers clamped to (minimum, maximum), as int8 of the same shape."""
    clamped: Int8Array = np.clip(values, *limits).astype(np.int8)
    return clamped
