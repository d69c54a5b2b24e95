"""Hostile and broken input files, by kind: each module has `cases()`.

The tests use some of them; `make security` opens all of them and measures memory and time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class HostileFile:
    """One file that the compiler has to survive.

    Attributes:
        kind: the group in which it is counted, such as "nested pickles".
        name: what is special about it, unique within its kind.
        write: writes the file in an empty folder and returns its path.
        options: those that the compiler is called with, by their names in `Options`. Paths in them
            are relative to the folder of the file, which has to be the current one.
        opens: whether it is a valid model that has to compile; None if both are right.
    """

    kind: str
    name: str
    write: Callable[[Path], Path]
    options: Mapping[str, object] = field(default_factory=dict)
    opens: bool | None = False
