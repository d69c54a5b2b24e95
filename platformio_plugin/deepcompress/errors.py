"""`UserError`, the exception for mistakes of the user, and how it is shown.

PlatformIO, the command line and CMake show a `UserError` as one paragraph and exit with 1. Each of
them writes options differently, so an error's text marks them by `setting`, and whoever shows the
text chooses a `Spelling`. Any other exception is a defect of DeepCompress.

Code of others (torch, the user's Python files) may raise anything while it reads a bad file. It is
called by `guard`, which makes a `UserError` of whatever it raises.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import TypeVar

from deepcompress.escape import paragraph, shortened

Result = TypeVar("Result")

# (an option's name, its value or None) -> how the user writes it
Spelling = Callable[[str, "str | None"], str]

_LONGEST = 1200  # characters of a part of an error: names in files may have any length
_OPEN, _CLOSE = "\x02", "\x03"
_LONGEST_REASON = 160
_MARK = re.compile(f"{_OPEN}(\\w+)(?:=([^{_CLOSE}]*))?{_CLOSE}")


def setting(name: str, value: object = None) -> str:
    """Marks an option, or an option set to a value, in the text of a `UserError`."""
    return f"{_OPEN}{name}{_CLOSE}" if value is None else f"{_OPEN}{name}={value}{_CLOSE}"


def plain(name: str, value: str | None) -> str:
    """The spelling `name` or `name = value`."""
    return name if value is None else f"{name} = {value}"


class UserError(Exception):
    """A mistake of the user, in three parts. Options in their texts are marked by `setting`.

    Args:
        what: what is wrong, as a sentence without its full stop.
        where: the file, option or layer that is wrong.
        do: what to do, as a sentence without its full stop.
    """

    def __init__(self, what: str, where: str, do: str) -> None:
        super().__init__(what, where, do)
        self.what, self.where, self.do = what, where, do

    def paragraph(self, spelling: Spelling = plain) -> str:
        """The error as one paragraph on one line: where, what, what to do."""
        where, what, do = (shortened(text, _LONGEST) for text in (self.where, self.what, self.do))
        text = f"{where}: {what}. {do}."
        return paragraph(_MARK.sub(lambda mark: spelling(mark[1], mark[2]), text))

    def __str__(self) -> str:
        return self.paragraph()


def guard(action: Callable[[], Result], problem: Callable[[BaseException], UserError]) -> Result:
    """The result of code that is not ours.

    Args:
        problem: makes the error of an exception that the code raised: of any class, also SystemExit
            and others that are not of class Exception.

    Raises:
        UserError: what `problem` returns, or what the code itself raised of this class.
        KeyboardInterrupt: the user has interrupted it.
    """
    try:
        return action()
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise problem(error) from None


def reason(error: BaseException) -> str:
    """The first line of an exception's text without its full stop, or its class if it has none.

    At most 160 characters, without the marks of `setting`. The text of an exception of others may
    be empty or too long, and computing it may fail.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or contains itself"
    try:
        text = str(error)
        if "INTERNAL ASSERT FAILED" in text:  # with advice to report a defect of PyTorch
            text = "an internal check of torch failed"
    except BaseException as failure:
        if isinstance(failure, KeyboardInterrupt):
            raise
        text = ""
    lines = [line.strip() for line in re.sub(f"[{_OPEN}{_CLOSE}]", "", text).splitlines()]
    first = next(filter(None, lines), type(error).__name__)
    return first[:_LONGEST_REASON].rstrip(". ")


def draw(error: UserError, width: int = 90, *, spelling: Spelling = plain) -> str:
    """The paragraph as the terminal shows it, wrapped; paths and words are never broken."""
    return textwrap.fill(
        f"deepcompress: error: {error.paragraph(spelling)}",
        width,
        break_long_words=False,
        break_on_hyphens=False,
        subsequent_indent="  ",
    )


def draw_warnings(warnings: Iterable[str]) -> list[str]:
    """A report's warnings as the terminal shows them, wrapped."""
    return [
        textwrap.fill(f"warning   {paragraph(warning)}", 100, subsequent_indent=" " * 10)
        for warning in warnings
    ]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' with the nearest known word, or an empty text."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
