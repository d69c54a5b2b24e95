"""Replaces the files of a folder completely or not at all, also if the process is killed.

A killed writer leaves a work folder; the next write to the same folder finishes or removes it. Of
several files that change together, a reader of the folder finds all old or all new ones:

- where the kernel can exchange two folders, the files become visible by one such exchange;
- elsewhere, or if the folder holds folders of the user, they are renamed one after the other. If
  the writer is killed between two renames, the next write does the rest. Until then, the build
  identifiers in the generated C do not match, and the C does not compile.

Build tools run this module too: see deepcompress/build/__init__.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from deepcompress.file_lock import locked, try_lock

# Work folders: inside the folder that is written, and next to it.
_INSIDE, _NEXT_TO = ".writing-", ".swapping-"
# In a work folder: held while its process lives; the new files; the names of all files that may be
# deleted with it; and, once all files are complete, the names of those to rename.
_LOCK, _NEW, _NAMES, _COMMIT = "lock", "new", "names", "commit"
_LARGEST_FOLDER = 1000  # files of a folder that is exchanged


def replace_files(contents: Mapping[str, bytes], folder: Path) -> list[str]:
    """Writes those files of a folder that differ, together; returns their names.

    Args:
        contents: name -> content. A name may contain folders, separated by "/".

    Raises:
        OSError: the folder cannot be made or written; the old files are as they were.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock_of(folder):
        _sweep(folder)
        changed = {name: c for name, c in contents.items() if _differs(folder / name, c)}
        if not folder.exists():
            _write_new_folder(changed, folder)
        elif len(changed) > 1:
            kept = _files_to_keep(folder, contents)
            if kept is None or not _exchange_folders(changed, kept, folder):
                _rename_each(changed, folder)
        elif changed:
            _rename_each(changed, folder)
        elif not folder.is_dir():
            folder.mkdir()  # raises the error that a file has the folder's name
    return list(changed)


def replace_file(path: Path, content: bytes) -> None:
    """Writes one file completely or not at all.

    Raises:
        OSError: it cannot be written; an old file is as it was.
    """
    replace_files({path.name: content}, path.parent)


def _differs(path: Path, content: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != content


def _lock_of(folder: Path) -> AbstractContextManager[None]:
    """Held while a folder is written: writers that add to one folder wait for each other.

    The file is in a folder of the user's for temporary files, so that none stays in the project.
    Without such a folder, writers do not wait.
    """
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:2]
    user = os.getuid() if hasattr(os, "getuid") else ""
    try:
        locks = Path(tempfile.gettempdir()) / f"deepcompress-locks-{user}"
        locks.mkdir(mode=0o700, exist_ok=True)
        if user != "" and locks.lstat().st_uid != user:
            return nullcontext()
        (locks / name).touch()
    except OSError:
        return nullcontext()
    return locked(locks / name)


@contextmanager
def _work_folder(parent: Path, prefix: str, target: Path) -> Iterator[Path]:
    """A new work folder, which is removed afterwards. `target` is the folder that is written."""
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=str(parent)))
    try:
        with (work / _LOCK).open("a") as lock:
            try_lock(lock)
            (work / _NEW).mkdir()
            yield work
    finally:
        _remove(work, target)


def _stage(contents: Mapping[str, bytes], work: Path, *, names: Iterable[str] = ()) -> None:
    """Writes the new files to the work folder. `names` are those of further files in it."""
    (work / _NAMES).write_text(json.dumps(sorted({*names, *contents})), encoding="utf-8")
    for name, content in contents.items():
        path = work / _NEW / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _write_new_folder(contents: Mapping[str, bytes], folder: Path) -> None:
    with _work_folder(folder.parent, _prefix_next_to(folder), folder) as work:
        _stage(contents, work)
        (work / _NEW).rename(folder)


def _prefix_next_to(folder: Path) -> str:
    return f"{_NEXT_TO}{folder.name}-"


# Exchange of two folders


def _files_to_keep(folder: Path, names: Iterable[str]) -> set[str] | None:
    """The files that an exchange must keep; None if the folder cannot be exchanged.

    The files are kept by hard links. Folders cannot be: one that holds other folders than those of
    generated files is not exchanged, nor one that is a mount point or a current folder.
    """
    here = Path.cwd()
    if folder in (here, *here.parents) or os.path.ismount(str(folder)):
        return None
    if not os.access(str(folder.parent), os.W_OK):
        return None
    ours = {parent.as_posix() for name in names for parent in Path(name).parents}
    kept: set[str] = set()
    waiting = ["."]
    while waiting:
        within = waiting.pop()
        with os.scandir(str(folder / within)) as entries:
            for entry in entries:
                name = (Path(within) / entry.name).as_posix()
                if entry.is_dir(follow_symlinks=False) and name in ours:
                    waiting.append(name)
                elif entry.is_file(follow_symlinks=False) and len(kept) < _LARGEST_FOLDER:
                    kept.add(name)
                else:
                    return None
    return kept


def _exchange_folders(changed: Mapping[str, bytes], kept: set[str], folder: Path) -> bool:
    """Exchanges the folder for a new one; whether the file system can do so."""
    with _work_folder(folder.parent, _prefix_next_to(folder), folder) as work:
        _stage(changed, work, names=kept)
        new = work / _NEW
        try:
            for name in kept - set(changed):
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(str(folder / name), str(new / name))
            shutil.copystat(str(folder), str(new))
            os.utime(str(new))
        except OSError:  # such as a file system without hard links
            return False
        before, after = folder.stat(), new.stat()
        if (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
            return False
        return _exchange(new, folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders in one operation of the file system; whether that is possible here."""
    if sys.platform != "linux":
        return False
    try:
        import ctypes  # a Python may lack it
    except ImportError:
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    current_folder, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE
    paths = (os.fsencode(path) for path in (one, other))
    first, second = (ctypes.c_char_p(path) for path in paths)
    return bool(renameat2(current_folder, first, current_folder, second, exchange) == 0)


# Renaming file after file


def _rename_each(changed: Mapping[str, bytes], folder: Path) -> None:
    with _work_folder(folder, _INSIDE, folder) as work:
        _stage(changed, work)
        for name in changed:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if len(changed) == 1:
            (name,) = changed
            (work / _NEW / name).replace(folder / name)
            return
        _keep_old(changed, folder, work)
        _commit(work, changed)
        try:
            _finish(work, folder)
        except BaseException:
            _restore_old(changed, folder, work)
            raise


def _commit(work: Path, names: Iterable[str]) -> None:
    """From here on, a later write finishes the renames instead of forgetting them."""
    prepared = work / (_COMMIT + ".new")
    prepared.write_text(json.dumps(list(names)), encoding="utf-8")
    prepared.replace(work / _COMMIT)


def _finish(work: Path, folder: Path) -> None:
    for name in json.loads((work / _COMMIT).read_text(encoding="utf-8")):
        if (work / _NEW / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (work / _NEW / name).replace(folder / name)


def _keep_old(names: Iterable[str], folder: Path, work: Path) -> None:
    for name in names:
        if (folder / name).exists():
            (work / "old" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(folder / name), str(work / "old" / name))


def _restore_old(names: Iterable[str], folder: Path, work: Path) -> None:
    """Undoes renames of which a later one failed, such as that of an open file on Windows."""
    for name in names:
        if (work / _NEW / name).is_file():
            continue  # not renamed
        if (work / "old" / name).is_file():
            (work / "old" / name).replace(folder / name)
        else:
            (folder / name).unlink()
    (work / _COMMIT).unlink()


# What killed writers leave


def _sweep(folder: Path) -> None:
    """Finishes or removes the work folders of processes that no longer live."""
    for work in [*folder.glob(_INSIDE + "*"), *_next_to(folder)]:
        if _is_abandoned(work):
            if (work / _COMMIT).is_file():
                _finish(work, folder)
            _remove(work, folder)


def _next_to(folder: Path) -> list[Path]:
    prefix = _prefix_next_to(folder)
    # mkdtemp adds eight characters: one with more is of a folder such as "out-2".
    length = len(prefix) + 8
    found = (path for path in folder.parent.iterdir() if path.name.startswith(prefix))
    return [path for path in found if len(path.name) == length]


def _is_abandoned(work: Path) -> bool:
    """Whether the process that made a work folder has ended. Its lock is free then."""
    try:
        with (work / _LOCK).open("r+") as lock:
            return try_lock(lock)
    except FileNotFoundError:
        with suppress(OSError):  # killed before it wrote anything, or a folder of the user's
            work.rmdir()
        return False
    except OSError:
        return False


def _remove(work: Path, folder: Path) -> None:
    """Deletes a work folder. Files in it that are not ours go back to the folder `folder`.

    After an exchange, the work folder is the old folder: a file that the user added to it during
    the exchange is not in the list of names.
    """
    new = work / _NEW
    try:
        names = set(json.loads((work / _NAMES).read_text(encoding="utf-8")))
    except (OSError, ValueError):  # killed before anything else was written
        names = set()
    for path in sorted(new.rglob("*"), reverse=True):
        name = path.relative_to(new).as_posix()
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif name in names:
                path.unlink()
            elif not (folder / name).exists():
                path.rename(folder / name)
    with suppress(OSError):
        if new.exists():
            new.rmdir()
        # The lock is last: without it, only an empty folder is recognized as ours.
        for path in sorted(work.iterdir(), key=lambda path: path.name == _LOCK):
            shutil.rmtree(str(path)) if path.is_dir() else path.unlink()
        work.rmdir()
