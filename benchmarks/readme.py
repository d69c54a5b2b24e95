"""The parts of README.md that commands write."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def replace_part(name: str, text: str) -> None:
    """Puts a text between the marks of a part, which README.md has once."""
    content = README.read_text()
    begin, end = f"<!-- {name}: written by a command -->", f"<!-- end of {name} -->"
    before, found, rest = content.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"{README} has no part {name}")
    README.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")
