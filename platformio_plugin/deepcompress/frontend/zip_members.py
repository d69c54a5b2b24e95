"""Members of zip archives. torch opens a copy of the members that were checked, never the file.

torch's own reader of zip archives may find other members in a file than Python's does.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from deepcompress.frontend.open_limits import OpenLimits, too_large

_SHARE_OF_MEMORY = 4


def members(
    path: Path,
    limits: OpenLimits,
    *,
    needed: Callable[[str], object] = lambda name: True,
    file: io.BytesIO | None = None,
) -> dict[str, bytes]:
    """The contents of an archive, by name without the archive's folder.

    torch ignores case when it looks up a member. Which one of two members it opens whose names
    differ only in case is not known, so they are refused.

    Args:
        path: of the model file.
        file: the archive, if it is a part of the model file.
        needed: whether a member of this name is read.

    Raises:
        UserError: the members are larger than the file and the limits allow.
        ValueError: two members have the same name.
        zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(file or path) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if len({name.lower() for name in entries}) < len(archive.infolist()):
            raise ValueError("it holds two members of one name")
        read = {name: entry for name, entry in entries.items() if needed(name)}
        _check_size(read.values(), path, limits)
        return {name: _content(archive, entry) for name, entry in read.items()}


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A member, of which no more is unpacked than the size that was checked."""
    with archive.open(entry) as stream:
        return stream.read(entry.file_size)


def _check_size(entries: Iterable[zipfile.ZipInfo], path: Path, limits: OpenLimits) -> None:
    """Refuses archives that are much larger when they are unpacked: torch does not compress."""
    unpacked, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if unpacked > max(size, limits.memory // _SHARE_OF_MEMORY):
        raise too_large(f"its {size:,} bytes are {unpacked:,} when they are unpacked", path)


def packed(contents: Mapping[str, bytes]) -> io.BytesIO:
    """An archive of these members, without compression."""
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"model/{name}", content)
    copy.seek(0)
    return copy
