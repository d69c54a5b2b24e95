"""One build of an environment at a time.

SCons does not wait for another SCons that builds the same files; both then write the same objects
and archives. A lock that SCons holds until it ends makes the second one wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from deepcompress.file_lock import locked

# Set while a process holds a lock, to its path: a build that it starts itself must not wait.
VARIABLE = "DEEPCOMPRESS_BUILD_LOCK"

_held = ExitStack()  # until the process ends, however it ends


def wait_for_other_builds(path: Path, say: Callable[[str], None]) -> None:
    """Takes the lock of an environment, and keeps it until this process ends.

    Args:
        say: called once, with a line of text, if another build holds the lock.

    Raises:
        OSError: the lock cannot be made.
    """
    if os.environ.get(VARIABLE) == str(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    message = "deepcompress: waiting for another build of this environment"
    _held.enter_context(locked(path, waiting=lambda: say(message)))
    os.environ[VARIABLE] = str(path)
