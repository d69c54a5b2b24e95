"""Ends the compiler when the build tool that started it ends, however that one ends.

The build tool holds the writing end of a pipe that is the compiler's standard input. The operating
system closes it when the build tool ends, also if it is killed.
"""

from __future__ import annotations

import os
import threading

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
