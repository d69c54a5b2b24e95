"""A cache of compiled models: the same inputs are compiled once.

A cache is a folder of folders, each named by the key of its inputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from deepcompress.file_lock import locked

# More than environments times models of a project: otherwise each build evicts what the next needs.
KEPT = 32
_TEMPORARY = "making-"


def key_of(files: Iterable[Path], facts: Any) -> str:
    """The name of a result: 32 hexadecimal digits of a hash of the files' contents and the facts.

    Args:
        files: in any order; their contents and names count, their folders and times do not.
        facts: everything else the result depends on, as a JSON value.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, content in sorted((path.name, _digest(path)) for path in files):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:32]


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.digest()


def fetch(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of a key. If it does not exist it is made, while other processes wait.

    Args:
        make: writes into a new, empty folder. If it raises or is killed, the cache is unchanged.
    """
    finished = folder / key
    if not finished.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            if not finished.is_dir():
                sweep(folder)
                _make(finished, make)
    os.utime(str(finished))  # last use: the oldest is swept first
    return finished


def _make(finished: Path, make: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=str(finished.parent)))
    try:
        make(temporary)
        temporary.chmod(0o755)
        temporary.rename(finished)
    except BaseException:
        shutil.rmtree(str(temporary), ignore_errors=True)
        raise


def sweep(folder: Path, *, kept: int = KEPT) -> None:
    """Removes leftovers of killed builds, and the least recently used results. Needs the lock."""
    finished = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(_TEMPORARY)]
    finished.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in finished[kept:]:
        # Renamed first: a sweep that is killed must not leave a partial result under its key.
        old.rename(folder / (_TEMPORARY + old.name))
    for leftover in folder.glob(_TEMPORARY + "*"):
        shutil.rmtree(str(leftover), ignore_errors=True)


def mirror(contents: Mapping[str, bytes], folder: Path) -> bool:
    """Makes a folder contain exactly these files, without touching those that are unchanged.

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
