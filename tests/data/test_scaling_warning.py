"""Float inputs that no byte becomes by the mean and std cause a warning."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from calibration_files import IMAGES, read, saved
from deepcompress.data.scaling_warning import scaling_warning

FLOATS = (IMAGES.astype(np.float32) * 8 / 255 - 0.25) / 0.5


@pytest.mark.parametrize(
    ("inputs", "pattern"),
    [
        (FLOATS, None),
        (FLOATS * 0.5 + 0.25, "run from 0 to 0.973; .* bytes become -0.5 to 1.5, and they are ins"),
        ((FLOATS * 0.5 + 0.25) * 255, r"run from 0 to 248; .* 97% of its values are outside"),
        (FLOATS * 2, "% of its values are outside"),
    ],
)
def test_a_warning_says_which_floats_no_byte_becomes(
    inputs: np.ndarray, pattern: str | None, tmp_path: Path
) -> None:
    data = read(saved(tmp_path, inputs=inputs), input_mean=(0.25,), input_std=(0.5,))
    warning = scaling_warning(data)
    assert warning is None if pattern is None else re.search(pattern, warning)
