"""The files that a user's Python code reads while the compiler runs it.

Python calls an audit hook before it opens a file or lists a folder. Files that a library opens in
C, without Python, are not seen.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

# Set by a build tool: the file in which it wants the record. See build/observed_inputs.py.
VARIABLE = "DEEPCOMPRESS_INPUTS"

_READ, _WRITTEN = "read", "written"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_INSTALLED = {"site-packages", "dist-packages", "__pycache__"}


def _beginnings(folders: Iterable[str]) -> tuple[str, ...]:
    return tuple(os.path.join(folder, "") for folder in folders)  # noqa: PTH118


# Folders whose files are no inputs: of Python and of this package; and, unless the project is in
# them, of the system.
_CODE = _beginnings(
    [
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(str(path.parents[1]) for path in (Path(__file__), Path(__file__).resolve())),
    ]
)
_SYSTEM = _beginnings(
    ["/proc", "/sys", "/dev", "/etc", "/run", "/usr", os.environ.get("SYSTEMROOT", "/usr")]
)

_PACKAGE = os.path.join(Path(__file__).parents[1], "")  # noqa: PTH118
# How the file names of Python's own code begin that looks for modules and packages.
_STDLIB = sysconfig.get_path("stdlib")
_IMPORTS = (
    "<frozen importlib",
    os.path.join(_STDLIB, "importlib", ""),  # noqa: PTH118
    os.path.join(_STDLIB, "pkgutil.py"),  # noqa: PTH118
)


class _Observer:
    """Appends notes to a file, as do processes that are forked and the process that opens models.

    A note is a line of JSON: [kind, path, state at that moment].
    """

    def __init__(self, notes: Path) -> None:
        self.running = 0  # calls of the user's code that are in progress
        self._notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._seen: set[tuple[str, str]] = set()
        self._modules = 0
        sys.addaudithook(self._hook)  # cannot be removed; does nothing unless code is running

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.running or event not in ("open", "os.listdir", "os.scandir"):
            return
        path = arguments[0]
        if event == "open":
            writes = isinstance(arguments[2], int) and arguments[2] & _WRITES
            self._note(_WRITTEN if writes else _READ, path)
        elif not _is_own(sys._getframe(1)) and not _is_search_for_modules(sys._getframe(1)):
            self._note(_READ, "." if path is None else path)

    def _note(self, kind: str, path: object) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return  # a file descriptor
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100, links are not resolved
        if (kind, name) in self._seen or not _is_input(name):
            return
        self._seen.add((kind, name))
        state = _state(name)
        if state is None and name in map(os.path.abspath, sys.path):
            return  # a place where Python looks for packages, which need not exist
        os.write(self._notes, json.dumps([kind, name, state]).encode() + b"\n")

    def note_modules(self) -> None:
        """Notes the files of imported modules: Python may have read others, in __pycache__."""
        if self._modules == len(sys.modules):
            return
        self._modules = len(sys.modules)
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and Path(file).is_file():
                self._note(_READ, file)


_observers: list[_Observer] = []  # none until code of the user runs, then one per process


@contextmanager
def observed() -> Iterator[None]:
    """Notes the files that are read inside of the `with`, also by other threads.

    Does nothing unless a build tool has asked for it.
    """
    file = os.environ.get(VARIABLE)
    if not file:
        yield
        return
    if not _observers:
        _observers.append(_Observer(_notes_of(file)))
    observer = _observers[0]
    observer.running += 1
    try:
        yield
    finally:
        observer.running -= 1
        if not observer.running:
            observer.note_modules()


def _notes_of(file: str) -> Path:
    return Path(f"{file}.notes")


def files_read(project: Path) -> dict[str, bool | None]:
    """Path of each file or folder that was read and each module that was imported by user's code.

    Ends the observation.

    Returns:
        path, relative to the project if it is in it -> True; False if it has changed since it was
        read; None if it did not and does not exist.
    """
    project = Path(os.path.abspath(project))  # noqa: PTH100
    notes = _notes_of(os.environ.get(VARIABLE, ""))
    if not notes.is_file():
        return {}
    lines = [json.loads(line) for line in notes.read_bytes().splitlines()]
    notes.unlink()
    written = {name for kind, name, _ in lines if kind == _WRITTEN}
    found: dict[str, bool | None] = {}
    for kind, name, before in lines:
        if kind != _READ or name in written:
            continue
        after = _state(name)
        in_project = project in Path(name).parents or Path(name) == project
        if after is None and (before is not None or not in_project):
            continue  # a temporary file, or one of many folders where something was sought
        same = before == after or Path(name).is_dir()
        found.setdefault(name, None if after is None else same)
    return {_relative(name, project): value for name, value in sorted(found.items())}


def _is_own(frame: FrameType) -> bool:
    """Whether this package lists a folder itself, as the guard of user's code does."""
    return frame.f_code.co_filename.startswith(_PACKAGE)


def _is_search_for_modules(frame: FrameType | None) -> bool:
    """Whether Python lists a folder to find modules or packages, not on behalf of user's code."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_IMPORTS):
            return True
        if not file.startswith("<") and _is_input(os.path.abspath(file)):  # noqa: PTH100
            return False
        frame = frame.f_back
    return False


def _is_input(name: str) -> bool:
    if name.startswith(_CODE) or _INSTALLED & set(Path(name).parts):
        return False
    return name.startswith(_beginnings([os.getcwd()])) or not name.startswith(_SYSTEM)  # noqa: PTH109


def _relative(name: str, project: Path) -> str:
    path = Path(name)
    return path.relative_to(project).as_posix() if project in path.parents else name


def _state(name: str) -> list[int] | None:
    """What changes if a file is written; None if it does not exist."""
    try:
        found = os.stat(name)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return [found.st_mtime_ns, found.st_size, found.st_ino]
