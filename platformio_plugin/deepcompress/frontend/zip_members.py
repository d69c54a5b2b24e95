"""Members of zip archives. torch opens a copy of the members that were checked, never the file.

torch's own reader of zip archives may find other members in a file than Python's does.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path


def members(path: Path) -> dict[str, bytes]:
    """The contents of an archive, by name without the archive's folder.

    torch ignores case when it looks up a member. Which one of two members it opens whose names
    differ only in case is not known, so they are refused.

    Raises:
        ValueError: two members have the same name.
        zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if len({name.lower() for name in entries}) < len(archive.infolist()):
            raise ValueError("it holds two members of one name")
        return {name: archive.read(entry) for name, entry in entries.items()}


def packed(contents: Mapping[str, bytes]) -> io.BytesIO:
    """An archive of these members, without compression."""
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"model/{name}", content)
    copy.seek(0)
    return copy
