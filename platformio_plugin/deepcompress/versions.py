"""Versions of what DeepCompress runs on: the oldest that work, and those that are installed.

Standard library only, as the build tool's Python imports it too.
"""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from deepcompress import __version__
from deepcompress.errors import UserError

OLDEST_PYTHON = (3, 10)  # of the compiler; the build tool's own may be older
# Packages that the compiler needs, with the oldest version; pyproject.toml has the same.
NEEDED = {"torch": (2, 6), "numpy": (1, 26), "jinja2": (3, 1)}
OPTIONAL = ("safetensors", "optuna", "matplotlib", "unicorn")
NEWEST_TORCH = (2, 13)  # that the tests run with


def requirement(name: str) -> str:
    """A package of `NEEDED` as pip takes it, such as "torch>=2.6"."""
    return f"{name}>={_text(NEEDED[name])}"


def installed(name: str) -> str | None:
    """The version of a package, such as "2.13.0+cpu"; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def is_there(name: str) -> bool:
    """Whether Python finds a package, also one that was built without stating its version."""
    return find_spec(name) is not None


def numbers(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def check_versions() -> None:
    """Raises UserError if a package of the compiler is missing or too old."""
    wrong = []
    for name, oldest in NEEDED.items():
        found = installed(name)
        if found is None and not is_there(name):
            wrong.append((name, f"{name} is not installed"))
        elif found is not None and numbers(found) < oldest:
            wrong.append((name, f"{name} {found} is older than {_text(oldest)}"))
    if wrong:
        packages = " ".join(f"'{requirement(name)}'" for name, _ in wrong)
        raise UserError(
            ", ".join(text for _, text in wrong),
            f"Python {sys.executable}",
            f"Install what is needed: {sys.executable} -m pip install --upgrade {packages}",
        )


def untested_torch() -> str | None:
    """A warning if torch is newer than any that the tests run with."""
    found = installed("torch")
    if found is None or numbers(found) <= NEWEST_TORCH:
        return None
    return (
        f"torch {found} is newer than {_text(NEWEST_TORCH)}, the newest that DeepCompress "
        f"{__version__} was tested with. If a model does not open, try torch "
        f"{_text(NEWEST_TORCH)}"
    )


def description() -> str:
    """All versions in one line, for bug reports."""
    parts = [f"deepcompress {__version__}", f"Python {platform.python_version()}"]
    unknown = {True: "of an unknown version", False: "is not installed"}
    parts += [f"{name} {installed(name) or unknown[is_there(name)]}" for name in NEEDED]
    parts += [f"{name} {found}" for name in OPTIONAL if (found := installed(name))]
    return ", ".join(parts)


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
