"""Finished results by content: what was compiled once from the same bytes is not compiled again.

A cache is a folder of folders, each named by the key of what it was made from. Standard library
only, and nothing newer than Python 3.8: PlatformIO's own interpreter runs this.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

KEPT = 8
_TEMPORARY = "making-"


def key_of(files: Iterable[Path], facts: Any) -> str:
    """A name for a result: 32 hexadecimal digits of the files' contents and the facts.

    Args:
        files: in any order; their contents and names count, their places and times do not.
        facts: whatever else the result depends on, as JSON can say it.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for path in sorted(files, key=lambda path: (path.name, str(path))):
        content = hashlib.sha256(path.read_bytes()).digest()
        digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()[:32]


def fetch(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of a key, made now if it is not there. Call it under a lock.

    Args:
        make: fills a new, empty folder. If it raises or is killed, the cache stays as it was.
    """
    finished = folder / key
    if finished.is_dir():
        os.utime(finished)
        return finished
    sweep(folder)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=str(folder)))
    try:
        make(temporary)
        temporary.chmod(0o755)
        temporary.rename(finished)
    except BaseException:
        shutil.rmtree(str(temporary), ignore_errors=True)
        raise
    return finished


def sweep(folder: Path, *, kept: int = KEPT) -> None:
    """Removes what killed builds left, and all but the results used last."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(_TEMPORARY + "*"):
        shutil.rmtree(str(leftover), ignore_errors=True)
    finished = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    for old in finished[: max(0, len(finished) - kept)]:
        shutil.rmtree(str(old), ignore_errors=True)


def mirror(contents: dict[str, bytes], folder: Path) -> bool:
    """Makes a folder hold just these files; those that are right already are not touched.

    Returns whether anything changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = False
    for leftover in folder.iterdir():
        if leftover.name not in contents:
            leftover.unlink()
            changed = True
    for name, content in contents.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            fresh = folder / (name + ".new")
            fresh.write_bytes(content)
            fresh.replace(path)
            changed = True
    return changed
