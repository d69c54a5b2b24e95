"""Writes the generated parts of README.md and of pages in docs/."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def replace_part(name: str, text: str, *, page: Path = README) -> None:
    """Replaces the text between the two markers of a part. Raises ValueError if they are missing.

    The first marker reads <!-- results: written by a command -->.
    """
    content = page.read_text()
    begin = re.search(rf"<!-- {name}: written by [^>]* -->", content)
    end = f"<!-- end of {name} -->"
    if not begin or end not in content[begin.end() :]:
        raise ValueError(f"{page} has no part {name}")
    rest = content[begin.end() :].partition(end)[2]
    page.write_text(f"{content[: begin.end()]}\n\n{text}\n\n{end}{rest}")


def paragraph(text: str) -> str:
    """A text wrapped at the page's line length, never inside a code span."""
    text = re.sub("`[^`]*`", lambda span: span[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(text, 132, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")
