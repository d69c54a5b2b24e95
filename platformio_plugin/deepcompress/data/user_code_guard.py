"""Guards a project while a Python file of its user runs to define a class or function.

A training script that trains at its top level would train inside the build, and overwrite the model
file. `guarded` stops it: at the attempt to write a file of the project, after a number of seconds,
or at the end if a file has changed nevertheless. New files and caches may be written.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from deepcompress.errors import UserError, setting

_MOST_FILES = 20_000
# Folders whose files are no sources or data of the project: caches, installed packages.
_CACHES = {"__pycache__", "node_modules", "site-packages"}
_ENVIRONMENT = "pyvenv.cfg"  # a file in each virtual environment
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_TRUNC
# Files that are compared afterwards. Another process, such as a second build, does not write these.
_COMPARED = (".py", ".pt", ".pt2", ".pth", ".ckpt", ".safetensors", ".npz", ".npy", ".onnx")
# Audit events of functions that replace or remove a file, and which of their arguments name one.
_CHANGES = {
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.truncate": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
}
# Functions that write a file without an audit event, with the position of its path.
_WRITERS = {
    "torch": {"save": 1},
    "torch.jit": {"save": 1},
    "torch.export": {"save": 1},
    "safetensors.torch": {"save_file": 1, "save_model": 1},
}
_WAITING = 10  # seconds of the clock per second of processor time that is allowed
_MAIN = 'Move what trains or writes under `if __name__ == "__main__":`'

# A file's modification time in ns, size and inode.
_State = tuple[int, int, int]


class _Stopped(BaseException):
    """Raised inside the user's code. No Exception, so that the code does not go on after it."""


class _Guard:
    """What is protected, and why the user's code was stopped."""

    def __init__(self, files: dict[str, _State]) -> None:
        self.files = files
        self.reason: str | None = None
        self.late = False  # whether the time limit is the reason

    def stop(self, reason: str) -> None:
        """Raises in the user's code; the first reason is the one that is reported."""
        self.reason = self.reason or reason
        raise _Stopped(reason)

    def check(self, path: object, change: str) -> None:
        """Stops the user's code if it is about to change a file that existed before."""
        name = _absolute(path)
        if name in self.files:
            self.stop(f"{change} {_shown(name)}")


# The guards that are active, innermost last. An audit hook cannot be removed, so it looks here.
_active: list[_Guard] = []
_hooked = False


@contextmanager
def guarded_lookup(
    option: str, text: str, *, files: Iterable[Path], seconds: int
) -> Iterator[None]:
    """Runs the user's file that an option names, `guarded`.

    Args:
        option: the option's name, and
        text: its value, "file.py:name", for errors.
        files: that are protected, besides those in the folder of the user's file.
        seconds: as for `guarded`.
    """
    file, _, name = text.rpartition(":")
    with guarded(
        f"{Path(file).name} was run to look up {name}",
        f"option {setting(option, text)}",
        f"{_MAIN}, or put {name} into a file of its own",
        files=[*files, Path(file).parent],
        seconds=seconds,
    ):
        yield


@contextmanager
def guarded(
    what: str, where: str, do: str = _MAIN, *, files: Iterable[Path], seconds: int
) -> Iterator[None]:
    """Runs code of the user's without letting it train.

    What the code prints goes to standard error.

    Args:
        what: was run and why, as the beginning of an error.
        where: the option or file that names the code, for errors.
        do: what to do if it is stopped.
        files: and folders that are protected, besides the current folder.
        seconds: of processor time that may pass, and ten times as many of the clock; 0 for any
            number. The limit holds in the main thread of POSIX systems only.

    Raises:
        UserError: the code was about to change a file, has changed one, or took too long. Such an
            error replaces one that the block raises.
    """
    named = [_absolute(path) for path in files]
    guard = _Guard(_states([*named, str(Path.cwd())]))
    try:
        with _watching(guard, seconds), redirect_stdout(sys.stderr):
            yield
    except BaseException:
        if guard.reason is None:
            raise
    changed = [
        path
        for path, state in guard.files.items()
        if (path in named or path.endswith(_COMPARED)) and _state(path) != state
    ]
    if guard.reason is None and changed:
        guard.reason = f"it has changed {_shown(changed[0])}"
    if guard.reason is not None:
        more = f". To allow more time: {setting('import_seconds', 60)}" if guard.late else ""
        raise UserError(f"{what}, and {guard.reason}", where, f"{do}{more}") from None


@contextmanager
def _watching(guard: _Guard, seconds: int) -> Iterator[None]:
    global _hooked
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True
    with ExitStack() as stack:
        for module, functions in _WRITERS.items():
            for name, position in functions.items():
                if hasattr(sys.modules.get(module), name):
                    function = getattr(sys.modules[module], name)
                    wrapper = _checked(function, position, guard)
                    stack.enter_context(patch.object(sys.modules[module], name, wrapper))
        stack.enter_context(_time_limit(guard, seconds))
        _active.append(guard)
        try:
            yield
        finally:
            _active.remove(guard)


def _checked(function: Callable[..., Any], position: int, guard: _Guard) -> Callable[..., Any]:
    """The function with a check of the path that it is given."""

    def checked(*arguments: Any, **named: Any) -> Any:
        paths = [*arguments[position : position + 1], named.get("f"), named.get("filename")]
        for path in paths:
            guard.check(path, "it is about to write")
        return function(*arguments, **named)

    return checked


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _active:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = set("wax+") & set(mode) if isinstance(mode, str) else flags & _WRITES
        if writes:
            _active[-1].check(path, "it is about to write")
    elif event in _CHANGES:
        for position in _CHANGES[event]:
            _active[-1].check(arguments[position], "it is about to replace or remove")


@contextmanager
def _time_limit(guard: _Guard, seconds: int) -> Iterator[None]:
    """Stops the user's code after so many seconds, and each second again if it goes on.

    They are seconds of processor time, because imports take long on a busy machine. The clock is a
    second limit, for code that waits.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not seconds or not in_main or not hasattr(signal, "setitimer"):
        yield
        return

    def expired(*_: object) -> None:
        guard.late = True
        guard.stop(f"it was still running after {seconds} s: it appears to train")

    with (
        _timer(signal.ITIMER_PROF, signal.SIGPROF, seconds, expired),
        _timer(signal.ITIMER_REAL, signal.SIGALRM, _WAITING * seconds, expired),
    ):
        yield


@contextmanager
def _timer(
    kind: int, number: signal.Signals, seconds: float, expired: Callable[..., None]
) -> Iterator[None]:
    before = signal.signal(number, expired)
    left, interval = signal.setitimer(kind, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(kind, left, interval)
        signal.signal(number, before)


def _states(places: Iterable[str]) -> dict[str, _State]:
    """The state of each file, also of those in folders, by absolute path."""
    waiting = [_absolute(place) for place in places]
    states: dict[str, _State] = {}
    seen: set[str] = set()
    while waiting and len(states) < _MOST_FILES:
        place = waiting.pop(0)
        if place in seen:
            continue
        seen.add(place)
        if Path(place).is_dir():
            waiting += _project_files(place)
        elif state := _state(place):
            states[place] = state
    return states


def _project_files(folder: str) -> list[str]:
    """The entries of a folder, without hidden and cache folders; none of an environment's."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:
        return []
    if any(entry.name == _ENVIRONMENT for entry in found):
        return []
    return [
        os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        for entry in found
        if not (entry.is_dir() and (entry.name.startswith(".") or entry.name in _CACHES))
    ]


def _state(path: str) -> _State | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _absolute(path: object) -> str:
    """The absolute path without links; an empty text if it is no path, such as an open file."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    try:
        return os.path.realpath(os.fsdecode(path))
    except (OSError, ValueError):
        return ""


def _shown(path: str) -> str:
    """The path as seen from the current folder, if it is in it."""
    here = os.path.realpath(Path.cwd())
    return os.path.relpath(path, here) if path.startswith(here + os.sep) else path
