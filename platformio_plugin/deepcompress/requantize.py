"""From an int32 accumulator to an int8 activation, in integers only.

    q = clamp((((int64)acc * multiplier[channel] + (1 << (shift - 1))) >> shift) + zero_point)

One rounding, towards plus infinity at a half. The shift is the same for all channels of a layer, so
that the C compiler sees a constant; at 32 the expression is one SMMULR on Armv7E-M. (gemmlowp and
TFLite round twice and keep a shift per channel: Jacob et al., arXiv 1712.05877, section 2.2.)
"""

from __future__ import annotations

import numpy as np

from deepcompress.graph import Requantize

MULTIPLIER_LIMIT = 2**31
PREFERRED_SHIFT = 32

# Below this a multiplier's own rounding (half a unit) could move a result of 255 steps by 1/16.
_PRECISE_MULTIPLIER = 2**11


def choose_multipliers(real: np.ndarray) -> tuple[np.ndarray, int]:
    """Integer multipliers and the shift they share.

    Args:
        real: float64 [channels], input scale * weight scale / output scale, each in 0 .. 1.

    Returns:
        int32 [channels] and the shift: 32 where that is precise enough.
    """
    largest = float(real.max())
    if not 0 <= largest <= 1:
        raise ValueError(f"a requantize factor of {largest} is outside 0 .. 1")
    highest = PREFERRED_SHIFT
    while largest * 2.0**highest >= MULTIPLIER_LIMIT - 1:
        highest -= 1
    positive = real[real > 0]
    if len(positive):
        while (
            positive.min() * 2.0**highest < _PRECISE_MULTIPLIER
            and largest * 2.0 ** (highest + 1) < MULTIPLIER_LIMIT - 1
        ):
            highest += 1
    return np.round(real * 2.0**highest).astype(np.int32), highest


def requantize(accumulator: np.ndarray, by: Requantize) -> np.ndarray:
    """int8 activations from accumulators.

    Args:
        accumulator: integers [..., channels, *spatial] whose values fit int32.
        by: the constants; `by.multiplier` is matched to the axis named `channels`, which is axis 1
            of a batch.

    Returns:
        int8, same shape.
    """
    channels = by.multiplier.reshape((1, -1) + (1,) * (accumulator.ndim - 2)).astype(np.int64)
    product = accumulator.astype(np.int64) * channels + (1 << (by.shift - 1))
    return np.clip((product >> by.shift) + by.zero_point, by.minimum, by.maximum).astype(np.int8)
