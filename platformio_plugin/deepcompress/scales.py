"""From a range of real numbers to a scale and a zero point, and from there to int8."""

from __future__ import annotations

import numpy as np

from deepcompress.graph import Clamp, Quantization

Range = tuple[float, float]


def affine(low: float, high: float, *, finest: float = 0.0) -> Quantization:
    """256 steps from low to high; zero is one of them. No step is finer than `finest`."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, finest, float(np.finfo(np.float32).tiny))
    zero_point = int(np.clip(round(-128 - low / scale), -128, 127))
    return Quantization(float(np.float32(scale)), zero_point)


def clamp_int8(clamp: Clamp, by: Quantization) -> tuple[int, int]:
    """The limits of an activation function as int8 values."""

    def nearest(real: float) -> int:
        return int(np.clip(np.round(real / by.scale) + by.zero_point, -128, 127))

    return nearest(clamp.minimum), nearest(clamp.maximum)
