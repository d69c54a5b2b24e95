"""The parts of README.md, and of pages like it, that commands write."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def replace_part(name: str, text: str, *, page: Path = README) -> None:
    """Puts a text between the marks of a part, which the page has once.

    The first mark says what writes it: <!-- results: written by a command -->.
    """
    content = page.read_text()
    begin = re.search(rf"<!-- {name}: written by [^>]* -->", content)
    end = f"<!-- end of {name} -->"
    if not begin or end not in content[begin.end() :]:
        raise ValueError(f"{page} has no part {name}")
    rest = content[begin.end() :].partition(end)[2]
    page.write_text(f"{content[: begin.end()]}\n\n{text}\n\n{end}{rest}")


def paragraph(text: str) -> str:
    """A text in lines as long as the page's others."""
    return textwrap.fill(text, 125, break_long_words=False, break_on_hyphens=False)
