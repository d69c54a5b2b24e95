"""Checks the sizes that an `.npz` or `.npy` states, before numpy allocates memory for them."""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

# Compressed data may be this much larger when it is unpacked, or this many bytes.
_LARGEST_RATIO = 16
_ALWAYS_UNPACKED = 1 << 29


def check_sizes(path: Path) -> None:
    """Raises ValueError if arrays are larger than their file has bytes for, or than it allows.

    Without compression, an array of any size that the file holds is right.

    Raises:
        zipfile.BadZipFile, OSError: the file is damaged.
    """
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            _check_array(file, size, path.name)
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > max(_LARGEST_RATIO * size, _ALWAYS_UNPACKED):
            raise ValueError(
                f"its {size:,} bytes are {unpacked:,} when they are unpacked; "
                "if it is right, save it without compression"
            )
        for entry in entries:
            with archive.open(entry) as member:
                _check_array(member, entry.file_size, entry.filename)


def _check_array(file: IO[bytes], size: int, name: str) -> None:
    """Raises ValueError if an array's shape needs more bytes than follow its header."""
    if file.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
        return  # numpy says what it is
    version = tuple(file.read(2))
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{name} has the format {version}, which plain arrays do not need")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        return  # numpy refuses it
    needed = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > size - file.tell():
        raise ValueError(f"{name} has {size:,} bytes and states the shape {list(shape)} of {dtype}")
