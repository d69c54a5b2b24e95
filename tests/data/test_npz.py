"""What an .npz may hold, and one paragraph for each mistake in it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from calibration_files import IMAGES, read, saved
from deepcompress.errors import UserError


def test_floats_stay_as_they_are(tmp_path: Path) -> None:
    data = read(saved(tmp_path, inputs=IMAGES.astype(np.float64), labels=np.array([1, 0])))
    assert data.inputs.dtype == np.float32 and data.labels.tolist() == [1, 0]
    assert data.byte_scaling is None and not data.synthetic


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
def test_wrong_contents_are_reported_in_one_paragraph(case: str, tmp_path: Path) -> None:
    arrays, complaint = BAD[case]
    path = saved(tmp_path, **arrays)
    with pytest.raises(UserError) as error:
        read(path)
    assert complaint in error.value.paragraph()
    assert error.value.paragraph().startswith(f"calibration file {path}: ")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04truncated", b"random bytes of any kind", None]
)
def test_a_file_that_is_no_npz_is_reported_with_how_to_save_one(
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


def npy_of(shape: str, content: bytes = b"") -> bytes:
    """The bytes of an .npy whose header states this shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


@pytest.mark.parametrize(
    "shape", ["(60000, 50000)", "(-1, 4)", "(4611686018427387904, 4)", "(2, 2)"]
)
def test_a_shape_that_the_file_has_no_bytes_for_is_refused(shape: str, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy_of(shape))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("inputs.npy", npy_of(shape))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError, match=r"bytes and states the shape .* of float32"):
            read(tmp_path / name)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for i in range(5):
            archive.writestr(f"inputs{i}.npy", npy_of("(32, 1048576)", bytes(1 << 27)))
    assert path.stat().st_size < 1 << 22
    with pytest.raises(
        UserError, match=r"bytes are 671,\d+,\d+ when they are unpacked; .*compress"
    ):
        read(path)


def test_compressed_data_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", inputs=np.zeros((100, 1, 64, 64), np.float32))
    assert read(tmp_path / "x.npz").inputs.shape == (100, 1, 64, 64)
