"""Zip archives that torch is going to open: it opens a copy of what was checked, never the file.

torch's own reader of zip files may see other members in a file than Python's does.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path


def members(path: Path) -> dict[str, bytes]:
    """What an archive holds, by name without the archive's folder.

    torch looks members up without regard to case: of two that differ only in case, which one it
    opens is not known, so they are refused.

    Raises:
        ValueError: two members of one name.
        zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if len({name.lower() for name in entries}) < len(archive.infolist()):
            raise ValueError("it holds two members of one name")
        return {name: archive.read(entry) for name, entry in entries.items()}


def packed(contents: Mapping[str, bytes]) -> io.BytesIO:
    """An archive of these members."""
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"model/{name}", content)
    copy.seek(0)
    return copy
