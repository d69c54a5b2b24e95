"""How a text that others chose is written in C, HTML, JSON, a make rule and on a terminal.

Names of layers come from model files, labels from label files, other texts from options and paths.
Each language has one function here, and whoever writes a file or a line calls it:

    comment     C and C++ comments     printable ASCII that cannot end the comment; shortened
    c_string    C string literals      UTF-8; only printable ASCII is written as it is
    html_text   HTML and SVG           visible characters; the template engine escapes markup
    json_text   JSON                   ASCII
    make_path   make rules, depfiles   the characters that make and ninja interpret
    visible     one line of a terminal  control characters and invisible ones as \\x1b, \\u202e
    screen      lines of a terminal    the same; keeps the ends of lines

Texts in Kconfig and CMake files come from the table of options and from checked model names only.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import Any, TextIO

# Categories of Unicode that a reader cannot see, or that change how other text is shown: control
# characters, formats (bidirectional overrides, zero width), surrogates, private use, not assigned,
# separators of lines and paragraphs.
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_PLAIN = re.compile(r"[ -~]*")
# Printable ASCII without quotation mark, slash, question mark and backslash: most texts of code.
_PLAIN_C = re.compile(r"[ !#-.0->@-\[\]-~]*")

COMMENT_LENGTH = 80
_NAME_LENGTH = 80
_PARAGRAPH_LENGTH = 4000


class Code(str):
    """C that one of the functions of the compiler made: `c_text` leaves it as it is."""

    __slots__ = ()


def shortened(text: str, length: int) -> str:
    """The text, or its beginning and "..." if it is longer than `length` characters."""
    return text if len(text) <= length else text[: max(0, length - 3)] + "..."


def c_text(value: object) -> object:
    """What a template may write to C in place of a value; the identity for identifiers and numbers.

    Each expression of the templates passes through this function, so that no text can start or end
    a comment, a line, a string or a trigraph.
    """
    if not isinstance(value, str) or isinstance(value, Code) or _PLAIN_C.fullmatch(value):
        return value
    text = "".join(char if " " <= char <= "~" and char not in '\\"' else "_" for char in value)
    return _without_c_marks(text)


def _without_c_marks(text: str) -> str:
    """A blank between two characters that start or end a comment, "?_" instead of a trigraph."""
    text = re.sub(r"(?<=[*/])(?=/)|(?<=/)(?=\*)", " ", text)
    return re.sub(r"\?(?=\?)", "?_", text)


def comment(text: str) -> str:
    """A text within a comment of C or C++, at most 80 characters.

    A character that is not printable ASCII, a backslash and a quotation mark become "_".
    """
    safe = str(c_text(shortened(text, COMMENT_LENGTH)))
    return shortened(safe, COMMENT_LENGTH).strip("*/ ")


def c_string(text: str) -> Code:
    """A C string literal of UTF-8; other characters than printable ASCII as octal bytes.

    Octal escapes have three digits at most, so that a digit may follow; "?" is one, because of
    trigraphs. A lone surrogate, which UTF-8 cannot express, becomes U+FFFD.
    """
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in _without_surrogates(text).encode()
    )
    return Code(f'"{plain}"')


def html_text(value: object) -> object:
    """What a template with autoescape may write to HTML in place of a value."""
    return visible(value) if type(value) is str else value


def json_text(value: Any) -> str:
    """A JSON text in ASCII, indented, which every reader can decode."""
    return json.dumps(_without_surrogates(value), indent=1) + "\n"


def make_path(path: str) -> str:
    """A path in a rule of make, or in a depfile of ninja.

    Raises:
        ValueError: it contains a line break, which neither can express.
    """
    if "\n" in path or "\r" in path:
        raise ValueError("a path of a make rule cannot contain a line break")
    return path.replace("$", "$$").replace("#", "\\#").replace(" ", "\\ ")


def visible(text: str, length: int | None = None) -> str:
    """A text on one line of a terminal, without characters that control it or are invisible.

    They are shown as Python writes them: \\n, \\x1b, \\u202e. A text that is longer than `length`
    characters is shortened.
    """
    if length is not None:
        text = shortened(text, length)
    if _PLAIN.fullmatch(text):
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _INVISIBLE else char
        for char in text
    )


def name(text: str) -> str:
    """The name of a layer, class, function or file in a table or a drawing: visible, shortened."""
    return visible(text, _NAME_LENGTH)


def paragraph(text: str) -> str:
    """A message on one line, whose parts may come from a file: visible, shortened."""
    return visible(" ".join(text.split()), _PARAGRAPH_LENGTH)


def screen(text: str) -> str:
    """Lines for a terminal: `visible` for each, with the ends of lines kept."""
    return "\n".join(map(visible, text.split("\n")))


class Terminal:
    """A text stream that shows control characters instead of sending them, in any encoding.

    It writes to another stream. What that stream's encoding cannot express is written as \\u....
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text; returns its length."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        safe = screen(text).encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(safe)
        return len(text)

    def flush(self) -> None:
        """Flushes the other stream."""
        self._stream.flush()

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)


def show(text: str) -> None:
    """Prints lines on standard output, of builds as well, whose stream may have any encoding."""
    print(text, file=Terminal(sys.stdout), flush=True)


def _without_surrogates(value: Any) -> Any:
    """The value, or the JSON value, with U+FFFD in place of lone surrogates in its texts."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_surrogates(part) for part in value]
    return value
