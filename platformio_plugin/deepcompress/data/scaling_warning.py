"""Warns of float calibration inputs that raw bytes cannot become by `input_mean`, `input_std`."""

from __future__ import annotations

import numpy as np

from deepcompress.data.calibration import Calibration

_ROUNDING = 0.01  # steps of a byte by which a float input may exceed 0 or 255


def scaling_warning(calibration: Calibration) -> str | None:
    """The warning, or None if the inputs are as expected, or if bytes are not scaled."""
    scaling, inputs = calibration.byte_scaling, calibration.inputs
    if scaling is None or calibration.images is not None:
        return None
    by_channel = np.moveaxis(inputs, 1, -1).reshape(-1, inputs.shape[1])
    as_bytes = by_channel / scaling.scale + scaling.zero
    outside = np.mean((as_bytes < -_ROUNDING) | (as_bytes > 255 + _ROUNDING))
    lowest, highest = inputs.min(), inputs.max()
    low, high = (-scaling.zero * scaling.scale).min(), ((255 - scaling.zero) * scaling.scale).max()
    unscaled = low < lowest >= 0 and highest <= 1 < high  # every pixel brighter than the mean
    if not outside and not unscaled:
        return None
    share = f"{100 * outside:.2g}% of its values are outside" if outside else "they are inside"
    return (
        f"the calibration's float inputs run from {lowest:.3g} to {highest:.3g}; with input_mean "
        f"and input_std, bytes become {low:.3g} to {high:.3g}, and {share}. Are the inputs still "
        "0..1 or 0..255, or normalized by other numbers? Save them as the network takes them, or "
        "save the images as uint8"
    )
