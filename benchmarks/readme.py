"""The parts of README.md, and of pages like it, that commands write."""

from __future__ import annotations

import textwrap
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def replace_part(name: str, text: str, *, page: Path = README) -> None:
    """Puts a text between the marks of a part, which the page has once."""
    content = page.read_text()
    begin, end = f"<!-- {name}: written by a command -->", f"<!-- end of {name} -->"
    before, found, rest = content.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"{page} has no part {name}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")


def paragraph(text: str) -> str:
    """A text in lines as long as the page's others."""
    return textwrap.fill(text, 125, break_long_words=False, break_on_hyphens=False)
