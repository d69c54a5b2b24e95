"""The files that a user's Python code reads while the compiler runs it.

Python calls an audit hook before it opens a file or lists a folder. Files that a library opens in
C, without Python, are not seen.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_READ, _WRITTEN = "read", "written"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_IMPORTS = "<frozen importlib"  # how the file names of Python's own import code begin
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


class _Observer:
    """Notes in a temporary file what is read, so that processes that are forked note there too."""

    def __init__(self) -> None:
        self.running = 0  # calls of the user's code that are in progress
        self._notes = tempfile.TemporaryFile("a+b", buffering=0)  # noqa: SIM115, kept open
        self._seen: set[tuple[str, str]] = set()
        sys.addaudithook(self._hook)  # cannot be removed; does nothing unless code is running

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.running or event not in ("open", "os.listdir", "os.scandir"):
            return
        path = arguments[0]
        if event == "open":
            writes = isinstance(arguments[2], int) and arguments[2] & _WRITES
            self._note(_WRITTEN if writes else _READ, path)
        elif not sys._getframe(1).f_code.co_filename.startswith(_IMPORTS):
            self._note(_READ, "." if path is None else path)

    def _note(self, kind: str, path: object) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return  # a file descriptor
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100, links are not resolved
        if (kind, name) in self._seen or not _is_input(name):
            return
        self._seen.add((kind, name))
        os.write(self._notes.fileno(), json.dumps([kind, name, _state(name)]).encode() + b"\n")

    def notes(self) -> Iterator[tuple[str, str, list[int] | None]]:
        size = os.fstat(self._notes.fileno()).st_size
        self._notes.seek(0)
        for line in self._notes.read(size).splitlines():
            kind, name, state = json.loads(line)
            yield kind, name, state


_observers: list[_Observer] = []  # none until code of the user runs, then one


@contextmanager
def observed() -> Iterator[None]:
    """Notes the files that are read inside of the `with`, also by other threads."""
    if not _observers:
        _observers.append(_Observer())
    observer = _observers[0]
    observer.running += 1
    try:
        yield
    finally:
        observer.running -= 1


def files_read(project: Path) -> dict[str, bool | None]:
    """Path of each file or folder that was read and each module that was imported by user's code.

    Returns:
        path, relative to the project if it is in it -> True; False if it has changed since it was
        read; None if it did not and does not exist.
    """
    project = Path(os.path.abspath(project))  # noqa: PTH100
    notes = [note for observer in _observers for note in observer.notes()]
    written = {name for kind, name, _ in notes if kind == _WRITTEN}
    found: dict[str, bool | None] = {}
    for kind, name, before in notes:
        if kind != _READ or name in written:
            continue
        after = _state(name)
        in_project = project in Path(name).parents or Path(name) == project
        if after is None and (before is not None or not in_project):
            continue  # a temporary file, or one of many folders where something was sought
        same = before == after or Path(name).is_dir()
        found.setdefault(name, None if after is None else same)
    for module in list(sys.modules.values()):
        name = os.path.abspath(getattr(module, "__file__", None) or os.devnull)  # noqa: PTH100
        if _is_input(name) and Path(name).is_file():
            found.setdefault(name, True)
    return {_relative(name, project): value for name, value in sorted(found.items())}


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
