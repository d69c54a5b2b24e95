"""File locks between processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(path: Path, *, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Holds a lock that one process can hold at a time. It is freed when the process ends.

    Args:
        waiting: called once if another process holds it.
    """
    said = False
    while True:
        with path.open("a") as file:
            while not try_lock(file):
                if not said:
                    waiting()
                said = True
                time.sleep(0.1)
            if _is_at(file, path):
                yield
                return


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the locked file still has its name: another process may have deleted the folder."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def try_lock(file: IO[str]) -> bool:
    """Tries to take the lock of an open file; whether it succeeded. Closing the file frees it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # held by another process: on POSIX, on Windows
        return False
    return True
