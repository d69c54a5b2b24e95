"""Writes texts to a folder: completely or not at all, and only those that changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deepcompress.errors import UserError
from deepcompress.file_write import replace_files


def atomic_write(texts: Mapping[str, str], folder: Path) -> list[str]:
    """Writes each text to its file name in the folder; returns the names that changed.

    A name may contain folders, separated by "/". See file_write.py for what is left after a full
    disk or a kill.

    Raises:
        UserError: the folder cannot be made or written.
    """
    try:
        return replace_files({name: text.encode() for name, text in texts.items()}, folder)
    except OSError as error:
        raise UserError(
            f"it cannot be written ({error.strerror or error})",
            f"folder {folder}",
            "Free disk space, or choose another folder; the old files are unchanged",
        ) from None
