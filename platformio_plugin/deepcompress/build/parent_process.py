"""Ends the processes of a build when the one that started them ends, however that one ends.

The build tool holds the writing end of a pipe that is the compiler's standard input. The operating
system closes it when the build tool ends, also if it is killed. `pio` itself starts SCons without
such a pipe: SCons would go on with the build, at the same time as the next `pio run`.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

# Set for a process whose standard input is such a pipe.
VARIABLE = "DEEPCOMPRESS_ENDS_WITH_STDIN"


def end_with_parent() -> None:
    """Called by the compiler at its start; does nothing if no build tool started it."""
    if not os.environ.pop(VARIABLE, ""):
        return
    pipe = os.dup(0)
    # A user's file that reads standard input must find its end instead of waiting.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_exit_at_end_of, args=(pipe,), daemon=True).start()


def _exit_at_end_of(pipe: int) -> None:
    try:
        while os.read(pipe, 1024):
            pass
    finally:
        os._exit(1)


def end_when_pio_is_killed() -> None:
    """Called in SCons. Ends it when its parent has ended; on Windows, this is not noticed."""
    if os.name != "nt":
        threading.Thread(target=_exit_after, args=(os.getppid(),), daemon=True).start()


def _exit_after(parent: int) -> None:
    if parent == 1 and not _is_pio(parent):
        os._exit(1)  # the parent had ended before
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)


def _is_pio(process: int) -> bool:
    """Whether a process is `pio`, or that is not known. In a container, it may be process 1."""
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return True
    return b"pio" in command or b"platformio" in command
