"""File locks between processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Held by one process at a time. The system frees it when its holder ends, however it ends."""
    with path.open("a") as file:
        while not try_lock(file):
            time.sleep(0.1)
        yield


def try_lock(file: IO[str]) -> bool:
    """Whether the lock of an open file is now ours. Closing the file frees it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # another holds it: on POSIX, on Windows
        return False
    return True
