"""Writes src/**/*.h: the Arduino IDE looks for headers only there.

    python tools/forward.py     # make docs

Each has one line, and includes a header that sketches or generated code use.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = (
    "DeepCompress.h",
    "deepcompress/model.h",
    "deepcompress/input.h",
    "deepcompress/kernels/*.h",
)


def forwards() -> dict[str, str]:
    """File name in src/ -> the line that includes the header of that name in include/."""
    include = ROOT / "include"
    headers = [path.relative_to(include) for glob in PUBLIC for path in sorted(include.glob(glob))]
    return {
        header.as_posix(): f'#include "{"../" * len(header.parts)}include/{header.as_posix()}"\n'
        for header in headers
    }


def main() -> None:
    texts = forwards()
    for old in (ROOT / "src").rglob("*.h"):
        if old.relative_to(ROOT / "src").as_posix() not in texts:
            old.unlink()
    for name, text in texts.items():
        path = ROOT / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
