"""Raw bytes become inputs by the mean and std of the training; mistakes in these are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calibration_files import IMAGES, read, saved
from deepcompress.errors import UserError


def test_bytes_are_scaled_as_the_training_did(tmp_path: Path) -> None:
    data = read(saved(tmp_path, inputs=IMAGES), input_mean=(0.5,), input_std=(0.25,))
    np.testing.assert_allclose(data.inputs, (IMAGES / 255 - 0.5) / 0.25, atol=1e-6)


def test_bytes_without_mean_and_std_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bytes \(uint8\), .*input_std = 0\.00392157"):
        read(saved(tmp_path, inputs=IMAGES))


def test_bytes_with_the_std_that_the_message_names_are_the_numbers_0_to_255(tmp_path: Path) -> None:
    data = read(saved(tmp_path, inputs=IMAGES), input_mean=(0.0,), input_std=(0.00392157,))
    np.testing.assert_allclose(data.inputs, IMAGES, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"input_mean": (0.5,)}, "input_mean is set, input_std is not"),
        ({"input_std": (0.5,)}, "input_std is set, input_mean is not"),
        (
            {"input_mean": (63.75,), "input_std": (51.0,)},
            r"input_mean = 0\.25 and input_std = 0\.2$",
        ),
        ({"input_mean": (127.5,), "input_std": (1.0,)}, "scaled to 0..1 first"),
    ],
)
def test_half_a_scaling_and_one_of_bytes_are_refused(
    options: dict, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=complaint.replace("$", r"\.$")):
        read(saved(tmp_path, inputs=IMAGES.astype(np.float32)), **options)


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,), (0.0,)), ((0.5, 0.5), (1.0, 1.0, 1.0)), ((float("nan"),), (1.0,))]
)
def test_a_mean_and_std_that_make_no_scaling_are_refused(
    mean: tuple, std: tuple, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"input_mean and input_std: .*do not make a scaling"):
        read(saved(tmp_path, inputs=IMAGES), input_mean=mean, input_std=std)


def test_a_scaling_for_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 numbers for 1 channels"):
        read(saved(tmp_path, inputs=IMAGES), input_mean=(0.1, 0.2, 0.3), input_std=(1.0,))
