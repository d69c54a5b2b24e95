"""The samples must have the shape of the model's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calibration_files import IMAGES, read, saved
from deepcompress.data.calibration import Calibration, check_shape, split_streams
from deepcompress.errors import UserError


def test_the_samples_must_have_the_models_shape(tmp_path: Path) -> None:
    data = read(saved(tmp_path, inputs=IMAGES / 255))
    with pytest.raises(UserError, match="samples have the shape 1x4x4, the model's input is 1x8x8"):
        check_shape(data, (1, 8, 8), "calibration.npz")


@pytest.mark.parametrize(
    ("found", "wanted", "do"),
    [
        ((12,), (16,), r"as \[samples, 16\]"),
        ((8, 8), (1, 8, 8), r"`inputs\[:, None\]`.*, 1, 8, 8\]"),
    ],
)
def test_an_error_about_the_shape_says_what_to_save(found: tuple, wanted: tuple, do: str) -> None:
    with pytest.raises(UserError, match=do):
        check_shape(Calibration(np.zeros((2, *found), np.float32)), wanted, "calibration.npz")


def test_streams_become_consecutive_samples_of_which_chunks_are_one_stream() -> None:
    streams = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 1, 4)
    samples = split_streams(Calibration(streams), (1, 4))
    assert samples.chunks == 3
    np.testing.assert_array_equal(samples.inputs, streams.reshape(6, 1, 4))
    assert split_streams(samples, (1, 4)) is samples
