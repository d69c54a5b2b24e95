"""Damages each file of a result in the cache in several ways; the next build must notice."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from integrity_project import Progress, Row, finish, project


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    bit = chance.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def _truncate(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(1, len(content))])


def _append(path: Path, chance: random.Random) -> None:
    with path.open("ab") as file:
        file.write(chance.choice([b"\n", b" ", b"\0", b"// more"]))


OF_FILES: dict[str, Callable[[Path, random.Random], object]] = {
    "one bit flipped": _flip,
    "truncated": _truncate,
    "emptied": lambda path, _: path.write_bytes(b""),
    "deleted": lambda path, _: path.unlink(),
    "appended to": _append,
}


def _empty(entry: Path) -> None:
    for path in entry.iterdir():
        path.unlink()


def _replace_by_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("")


OF_ENTRIES: dict[str, Callable[[Path], object]] = {
    "an empty folder": _empty,
    "a file in place of the folder": _replace_by_a_file,
    "an added file": lambda entry: (entry / "more.c").write_text("int more;"),
    "an added folder": lambda entry: (entry / "more").mkdir(),
}


def run(progress: Progress, *, seed: int = 0) -> list[Row]:
    """What was tried, how often, and how often the build noticed and made the right result."""
    chance = random.Random(seed)
    with project() as made:
        expected = made.built("one")
        (manifest,) = made.store().glob("*/manifest.json")
        entry = manifest.parent
        names = sorted(path.name for path in entry.iterdir())

        def is_found(what: str) -> bool:
            output = finish(made.start("one"))
            found = "; compiling it again" in output and made.built("one") == expected
            progress(f"cache: {what}: {'found' if found else 'NOT FOUND'}")
            return found

        rows = []
        for kind, damage in OF_FILES.items():
            found = 0
            for name in names:
                damage(entry / name, chance)
                found += is_found(f"{name} {kind}")
            rows.append((f"cache: each file {kind}", len(names), found))
        for kind, damage_entry in OF_ENTRIES.items():
            damage_entry(entry)
            rows.append((f"cache: {kind}", 1, int(is_found(kind))))
        return rows
