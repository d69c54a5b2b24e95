"""A cache of compiled models: the same inputs are compiled once.

A cache is a folder of entries: folders, each named by the key of its inputs. An entry has a
manifest with the SHA-256 of its files, which is written last. What does not match it is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from deepcompress.file_lock import locked, try_lock

# More than environments times models of a project: otherwise each build evicts what the next needs.
KEPT = 32
_TEMPORARY = "making-"
_MANIFEST = "manifest.json"

Contents = Mapping[str, bytes]


class Unusable(Exception):
    """An entry of the cache cannot be used; the text says why, as the end of a sentence."""


def key_of(files: Mapping[str, Path], facts: Any) -> str:
    """The name of a result: 32 hexadecimal digits of a hash of the files' contents and the facts.

    Args:
        files: role of each file -> path. Roles and contents count; paths and times do not.
        facts: everything else the result depends on, as a JSON value.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for role, path in sorted(files.items()):
        digest.update(role.encode() + b"\0" + digest_of(path).encode())
    return digest.hexdigest()[:32]


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, or of the names in a folder; hexadecimal."""
    if path.is_dir():
        names = sorted(os.fsencode(each.name) for each in path.iterdir())
        return _hash(b"\0".join(names))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(
    folder: Path,
    key: str,
    make: Callable[[Path], None],
    *,
    check: Callable[[Contents], None] = lambda contents: None,
    say: Callable[[str], None] = lambda reason: None,
) -> dict[str, bytes]:
    """File name -> content of an entry. It is made if it cannot be used; other processes wait.

    Args:
        make: writes into a new, empty folder. If it raises or is killed, the cache is unchanged.
        check: raises `Unusable` for contents that are as they were made, but no longer valid.
        say: receives the reason why an entry that exists is made again.
    """
    entry = folder / key
    with suppress(Unusable):
        contents = _use(entry, check)
        _sweep_if_idle(folder)
        return contents
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        try:
            return _use(entry, check)  # another process has made it in the meantime
        except Unusable as unusable:
            if os.path.lexists(str(entry)):
                say(str(unusable))
                _discard(entry)
        sweep(folder)
        _make(entry, make)
        return _read(entry)


def _use(entry: Path, check: Callable[[Contents], None]) -> dict[str, bytes]:
    contents = _read(entry)
    check(contents)
    with suppress(OSError):  # a cache that is read-only can be used
        os.utime(str(entry))  # last use: the oldest is swept first
    return contents


def _read(entry: Path) -> dict[str, bytes]:
    """The verified contents of an entry. Raises Unusable."""
    try:
        contents = {path.name: path.read_bytes() for path in entry.iterdir()}
        manifest = contents.pop(_MANIFEST, b"")
        stated: dict[str, str] = json.loads(manifest)["files"]
        if manifest != _manifest(entry.name, stated):
            raise Unusable("has a damaged manifest")
    except FileNotFoundError as error:
        raise Unusable("does not exist, or is removed at this moment") from error
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable("has a damaged manifest") from error
    actual = {name: _hash(content) for name, content in contents.items()}
    differ = sorted(n for n in {*actual, *stated} if actual.get(n) != stated.get(n))
    if differ:
        raise Unusable(f"has a missing, damaged or added file: {', '.join(differ)}")
    return contents


def _manifest(key: str, files: Mapping[str, str]) -> bytes:
    """The only text of the manifest of these files: any other one is damaged."""
    stated: dict[str, Any] = {"key": key, "files": files}
    seal = _hash(json.dumps(stated, sort_keys=True).encode())
    return json.dumps({**stated, "sha256": seal}, indent=1, sort_keys=True).encode()


def _make(entry: Path, make: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=str(entry.parent)))
    try:
        make(temporary)
        files = {path.name: digest_of(path) for path in temporary.iterdir()}
        (temporary / _MANIFEST).write_bytes(_manifest(entry.name, files))
        temporary.chmod(0o755)
        temporary.rename(entry)
    except BaseException:
        shutil.rmtree(str(temporary), ignore_errors=True)
        raise


def forget(folder: Path, key: str) -> None:
    """Removes an entry, if it exists."""
    with locked(folder / "lock"), suppress(FileNotFoundError):
        _discard(folder / key)


def _discard(entry: Path) -> None:
    """Removes an entry, which may be a damaged one: a file, or a link to nowhere."""
    # Renamed first: a removal that is killed must not leave a partial result under its key.
    aside = entry.with_name(f"{_TEMPORARY}{entry.name}-{os.getpid()}")
    entry.rename(aside)
    _delete(aside)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path), ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _sweep_if_idle(folder: Path) -> None:
    """Removes what killed builds left, unless a build holds the lock: it may be its own."""
    if next(folder.glob(_TEMPORARY + "*"), None) is None:
        return
    with suppress(OSError), (folder / "lock").open("a") as lock:
        if try_lock(lock):
            sweep(folder)


def sweep(folder: Path, *, kept: int = KEPT) -> None:
    """Removes leftovers of killed builds, and the least recently used results. Needs the lock."""
    finished = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(_TEMPORARY)]
    finished.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in finished[kept:]:
        _discard(old)
    for leftover in folder.glob(_TEMPORARY + "*"):
        _delete(leftover)


def mirror(contents: Contents, folder: Path) -> bool:
    """Makes a folder contain exactly these files, without touching those that are unchanged.

    Builds at the same time wait for each other. Returns whether anything changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock")):
        leftovers = [path for path in folder.iterdir() if path.name not in contents]
        for leftover in leftovers:
            _delete(leftover)
        changed = [name for name, content in contents.items() if _differs(folder / name, content)]
        # The .c files are missing in between, and come last: if this is killed, a build tool that
        # compares times only, such as make, still runs it again.
        changed.sort(key=lambda name: name.endswith(".c"))
        for name in changed:
            if name.endswith(".c") or not (folder / name).is_file():
                _delete(folder / name)
        for name in changed:
            fresh = folder / (name + ".new")
            fresh.write_bytes(contents[name])
            fresh.replace(folder / name)
    return bool(leftovers or changed)


def _differs(path: Path, content: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != content
