"""Kills a process at each of its file operations in turn."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator

# Audit events of operations that change files; Python raises them before the operation. A call of
# the kernel by ctypes is after `ctypes.dlsym`.
OPERATIONS = {
    *("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime"),
    *("ctypes.dlsym", "os.truncate"),
}
WRITES = os.O_WRONLY | os.O_RDWR


def killed_at_each_operation(prepare: Callable[[], None], act: Callable[[], object]) -> Iterator:
    """Yields after each time that `act` was killed, once at every operation; `act` runs in a fork.

    `prepare` is called before each. The caller examines what is left.
    """
    step = 1
    while True:
        prepare()
        if not _is_killed(step, act):
            return
        yield step
        step += 1


def _is_killed(step: int, act: Callable[[], object]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            _kill_at(step)
            act()
            os._exit(0)
        finally:
            os._exit(1)  # a failure of `act`
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "what was to be killed failed"
    return False


def _kill_at(step: int) -> None:
    left = [step]

    def hook(event: str, arguments: tuple) -> None:
        if event in OPERATIONS or (event == "open" and arguments[2] & WRITES):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
