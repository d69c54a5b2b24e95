"""The one exception for mistakes of the user, and how it is shown.

Every face (ini, command line, CMake) prints a `UserError` as one paragraph and exits with 1.
Anything else that is raised is a defect of ours.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A mistake of the user, told in three parts.

    Args:
        what: what is wrong, as a sentence without its full stop.
        where: the file, option or layer that it is about.
        do: what to do about it, as a sentence without its full stop.
    """

    def __init__(self, what: str, where: str, do: str) -> None:
        super().__init__(what, where, do)
        self.what, self.where, self.do = what, where, do

    def paragraph(self) -> str:
        """The error as one paragraph on one line: where, what, what to do."""
        return " ".join(f"{self.where}: {self.what}. {self.do}.".split())

    def __str__(self) -> str:
        return self.paragraph()


def draw(error: UserError, width: int = 90, spell: Callable[[str], str] = str) -> str:
    """The paragraph as the terminal shows it, wrapped; paths and words are never broken.

    `spell` writes the options that it names as this face has them.
    """
    return textwrap.fill(
        f"deepcompress: error: {spell(error.paragraph())}",
        width,
        break_long_words=False,
        break_on_hyphens=False,
        subsequent_indent="  ",
    )


def draw_warnings(warnings: Iterable[str]) -> list[str]:
    """Each warning of a report as the terminal shows it, wrapped."""
    return [
        textwrap.fill(f"warning   {warning}", 100, subsequent_indent=" " * 10)
        for warning in warnings
    ]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' for the nearest known word, or an empty text."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
