"""Calibration files with chosen arrays, and how a build reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from deepcompress.data.calibration import Calibration, read_calibration
from deepcompress.options import Options

IMAGES = np.arange(2 * 16, dtype=np.uint8).reshape(2, 1, 4, 4)


def read(path: Path, **options: object) -> Calibration:
    calibration = read_calibration(Options(calibration=str(path), **options))
    assert calibration is not None
    return calibration


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "calibration.npz"
    np.savez(path, **arrays)
    return path
