"""From an int32 accumulator to an int8 activation, in integers only.

    q = clamp((((int64)acc * multiplier[channel] + (1 << (shift - 1))) >> shift) + zero_point)

One rounding, towards plus infinity at a half. The shift is the same for all channels of a layer, so
that the C compiler sees a constant; at 32 the expression is one SMMULR on Armv7E-M. (gemmlowp and
TFLite round twice and keep a shift per channel: Jacob et al., arXiv 1712.05877, section 2.2.)
"""

from __future__ import annotations

import numpy as np

from deepcompress.ir.arrays import Int8Array, Int32Array, IntArray
from deepcompress.ir.graph import Requantize

PREFERRED_SHIFT = 32

# Of a product of 64 bits, where the input is as good as dead.
_GREATEST_SHIFT = 62

# What of a multiplier fits int8 and int16, once the zeros behind it are taken off.
_BYTE_BITS = 7
_SHORT_BITS = 15
# The largest multiplier of 15 bits that fits int32.
_MULTIPLIER_LIMIT = (2**_SHORT_BITS - 1) * 2**16

# Below this a multiplier's own rounding (half a unit) could move a result of 255 steps by 1/16.
_PRECISE_MULTIPLIER = 2**11
# Below this the next multiplier is more than an eighth larger.
_FINE_MULTIPLIER = 2**3


def round_up_factors(real: np.ndarray) -> np.ndarray:
    """The next larger factors that multipliers of 7 bits express without error.

    Of 15 bits, where one of the factors would grow by more than an eighth with 7; unchanged, where
    it would even so.

    Args:
        real: float64 [channels], each above 0.
    """
    for bits in (_BYTE_BITS, _SHORT_BITS):
        unit = _unit(real.max(), bits)
        if real.min() >= _FINE_MULTIPLIER * unit:
            return np.ceil(real / unit) * unit
    return real


def _unit(largest: float, bits: int) -> float:
    """The least power of two of which the largest takes no more than so many bits."""
    return 2.0 ** np.ceil(np.log2(largest / (2**bits - 1)))


def choose_multipliers(real: np.ndarray) -> tuple[np.ndarray, int]:
    """Integer multipliers and the shift they share.

    Args:
        real: float64 [channels], input scale * weight scale / output scale, each in 0 .. 1.

    Returns:
        int32 [channels], of 15 significant bits at most where that is precise enough, and the
        shift: 32 likewise.
    """
    largest = float(real.max())
    if not 0 <= largest <= 1:
        raise ValueError(f"a requantize factor of {largest} is outside 0 .. 1")
    highest = PREFERRED_SHIFT
    while largest * 2.0**highest > _MULTIPLIER_LIMIT:
        highest -= 1
    positive = real[real > 0]
    if not len(positive):
        return np.zeros(len(real), np.int32), highest
    smallest = float(positive.min())
    while (
        smallest * 2.0**highest < _PRECISE_MULTIPLIER
        and largest * 2.0 ** (highest + 1) <= _MULTIPLIER_LIMIT
        and highest < _GREATEST_SHIFT
    ):
        highest += 1
    unit = max(1.0, _unit(largest * 2.0**highest, _SHORT_BITS))
    if smallest * 2.0**highest < _PRECISE_MULTIPLIER * unit:
        unit = 1.0
    return (np.round(real * 2.0**highest / unit) * unit).astype(np.int32), highest


def requantize(accumulator: IntArray, multiplier: Int32Array, by: Requantize) -> Int8Array:
    """int8 activations from accumulators.

    Args:
        accumulator: integers [..., channels, *spatial] whose values fit int32.
        multiplier: int32 [channels], or [1] for all; channels are axis 1 of a batch.

    Returns:
        int8, same shape.
    """
    channels = multiplier.reshape((1, -1) + (1,) * (accumulator.ndim - 2)).astype(np.int64)
    product = accumulator.astype(np.int64) * channels + (1 << (by.shift - 1))
    return np.clip((product >> by.shift) + by.zero_point, by.minimum, by.maximum).astype(np.int8)
