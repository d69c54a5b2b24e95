"""Random inputs, for when there is no calibration data."""

from __future__ import annotations

from math import prod

import numpy as np

from deepcompress.data.byte_scaling import byte_scaling, check_channels
from deepcompress.data.calibration import Calibration
from deepcompress.options import Options

SYNTHETIC_SAMPLES = 64
# Fewer samples of large inputs: they are held as float64 and float32 at once.
_MOST_VALUES = 1 << 24


def synthetic_calibration(options: Options, input_shape: tuple[int, ...]) -> Calibration:
    """Random inputs: bytes 0..255 if the options scale bytes, else standard normal numbers.

    There are 64 samples, fewer if they are large.
    """
    random = np.random.default_rng(0)
    samples = min(SYNTHETIC_SAMPLES, max(_MOST_VALUES // prod(input_shape), 1))
    shape = (samples, *input_shape)
    scaling = byte_scaling(options)
    if scaling is None:
        return Calibration(random.standard_normal(shape).astype(np.float32), synthetic=True)
    check_channels(scaling, input_shape, "the model")
    images = random.integers(0, 256, shape, dtype=np.uint8)
    return Calibration(scaling.real(images), None, scaling, images=images, synthetic=True)
