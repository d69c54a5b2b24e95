"""The library's own C, to write next to a model's: the folder then builds on its own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# A checkout has include/ and src/ at its root; an installed package has them inside.
_LIBRARY = _PACKAGE if (_PACKAGE / "include").is_dir() else _PACKAGE.parents[1]


def runtime_sources() -> dict[str, str]:
    """File name in the folder -> text: the headers, what is not inline, and a CMakeLists.txt."""
    include, sources = _LIBRARY / "include", sorted((_LIBRARY / "src").glob("*.c"))
    headers = {
        path.relative_to(include).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(include.rglob("*.h"))
    }
    cmake = (files("deepcompress.backend.templates") / "CMakeLists.txt").read_text(encoding="utf-8")
    return {
        **headers,
        **{path.name: path.read_text(encoding="utf-8") for path in sources},
        "CMakeLists.txt": cmake,
    }
