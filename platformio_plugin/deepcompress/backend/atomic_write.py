"""Writes texts to a folder: completely or not at all, and only those that changed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deepcompress.errors import UserError


def atomic_write(texts: Mapping[str, str], folder: Path) -> list[str]:
    """Writes each text to its file name in the folder; returns the names that changed.

    A name may contain folders, separated by "/". All texts are first written to temporary files
    next to the old ones, so that a full disk or a kill leaves the old files as they were.

    Raises:
        UserError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        changed = [name for name, text in texts.items() if _differs(folder / name, text)]
        _replace_all({name: texts[name] for name in changed}, folder)
    except OSError as error:
        raise UserError(
            f"it cannot be written ({error.strerror or error})",
            f"folder {folder}",
            "Free disk space, or choose another folder; the old files are unchanged",
        ) from None
    return changed


def _differs(path: Path, text: str) -> bool:
    return not path.is_file() or path.read_bytes() != text.encode()


def _replace_all(texts: Mapping[str, str], folder: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        for name, text in texts.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(text.encode())
        for name in texts:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).replace(folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
