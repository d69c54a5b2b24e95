"""What a calibration file may hold, and one paragraph for each thing that it may not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from deepcompress.data.calibration import Calibration, check_shape, read_calibration, scaling_doubt
from deepcompress.errors import UserError
from deepcompress.options import Options

IMAGES = np.arange(2 * 16, dtype=np.uint8).reshape(2, 1, 4, 4)


def read(path: Path, **options: object) -> object:
    return read_calibration(Options(calibration=str(path), **options))


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "calibration.npz"
    np.savez(path, **arrays)
    return path


def test_floats_are_taken_as_they_are(tmp_path: Path) -> None:
    data = read(saved(tmp_path, inputs=IMAGES.astype(np.float64), labels=np.array([1, 0])))
    assert data.inputs.dtype == np.float32 and data.labels.tolist() == [1, 0]
    assert data.byte_scaling is None and not data.synthetic


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


FLOATS = (IMAGES.astype(np.float32) * 8 / 255 - 0.25) / 0.5


@pytest.mark.parametrize(
    ("inputs", "doubt"),
    [
        (FLOATS, None),
        (FLOATS * 0.5 + 0.25, "run from 0 to 0.973; .* bytes become -0.5 to 1.5, and they lie ins"),
        ((FLOATS * 0.5 + 0.25) * 255, r"run from 0 to 248; .* 97% of its values lie outside"),
        (FLOATS * 2, "% of its values lie outside"),
    ],
)
def test_floats_that_no_byte_becomes_are_doubted(
    inputs: np.ndarray, doubt: str | None, tmp_path: Path
) -> None:
    data = read(saved(tmp_path, inputs=inputs), input_mean=(0.25,), input_std=(0.5,))
    said = scaling_doubt(data)
    assert said is None if doubt is None else re.search(doubt, said)


def test_a_bare_npy_is_the_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES / 255)
    assert len(read(tmp_path / "x.npy").inputs) == 2


NAN = np.full((3, 2), 1.0)
NAN[1, 0] = np.nan
BAD = {
    "wrong key": ({"images": IMAGES}, "has no array `inputs`; it has images [2, 1, 4, 4]"),
    "near key": ({"input": IMAGES}, "did you mean input?"),
    "no samples": ({"inputs": IMAGES[:0]}, "holds no samples"),
    "a scalar": ({"inputs": np.array(3.0)}, "holds no samples"),
    "integers": ({"inputs": IMAGES.astype(np.int64)}, "`inputs` is int64"),
    "text": ({"inputs": np.array([["a"]])}, "`inputs` is <U1"),
    "NaN": ({"inputs": NAN}, "NaN or infinity, first in sample 1"),
    "label count": ({"inputs": IMAGES, "labels": np.array([1])}, "int64 [1] for 2 inputs"),
    "label type": ({"inputs": IMAGES, "labels": np.array([1.0, 2])}, "float64 [2]"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_contents_are_told_in_one_paragraph(case: str, tmp_path: Path) -> None:
    arrays, complaint = BAD[case]
    path = saved(tmp_path, **arrays)
    with pytest.raises(UserError) as error:
        read(path)
    assert complaint in error.value.paragraph()
    assert error.value.paragraph().startswith(f"calibration file {path}: ")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04truncated", b"random bytes of any kind", None]
)
def test_a_file_that_is_no_npz_is_told_with_how_to_save_one(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "data.npz"
    if content is None:
        np.savez(path, inputs=np.array([{"pickled": 1}], dtype=object))
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as an \.npz .*numpy\.savez"):
        read(path)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    saved(tmp_path, inputs=IMAGES)
    with pytest.raises(UserError, match=r"did you mean calibration\.npz\?"):
        read(tmp_path / "calibratoin.npz")


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,), (0.0,)), ((0.5, 0.5), (1.0, 1.0, 1.0)), ((float("nan"),), (1.0,))]
)
def test_a_mean_and_std_that_make_no_scaling_are_refused(
    mean: tuple, std: tuple, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"input_mean and input_std: .*do not make a scaling"):
        read(saved(tmp_path, inputs=IMAGES), input_mean=mean, input_std=std)


def test_as_many_means_as_channels(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 numbers for 1 channels"):
        read(saved(tmp_path, inputs=IMAGES), input_mean=(0.1, 0.2, 0.3), input_std=(1.0,))


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
def test_a_wrong_shape_is_told_the_models_own(found: tuple, wanted: tuple, do: str) -> None:
    with pytest.raises(UserError, match=do):
        check_shape(Calibration(np.zeros((2, *found), np.float32)), wanted, "calibration.npz")
