"""Draws digits in a terminal: the image, the class that the network chose, and all scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

PICTURE = 20  # width and height of a digit in pixels; MNIST's digits have 20 x 20
BAR = 3  # characters
WIDTH = PICTURE + 2 + BAR
GAP = "  "


@dataclass(frozen=True)
class Ink:
    """The characters of a drawing.

    Attributes:
        pixels: maps an upper and a lower pixel, each 0 (black) .. 255, to one character.
        levels: characters of a bar, from empty to full.
        right, wrong: marks of one character's width.
    """

    pixels: Callable[[int, int], str]
    levels: str
    right: str
    wrong: str


@dataclass(frozen=True)
class Reading:
    """One image as classified by the firmware; `scores` are real numbers, one per class."""

    number: int
    label: int
    index: int
    scores: tuple[float, ...]


def draw_row(readings: Sequence[Reading], images: np.ndarray, ink: Ink) -> str:
    """Several readings in one row; images is uint8 [test set, 1, 32, 32]."""
    cells = [draw(reading, images[reading.number, 0], ink) for reading in readings]
    return "\n".join(GAP.join(lines).rstrip() for lines in zip(*cells, strict=True)) + "\n"


def draw(reading: Reading, image: np.ndarray, ink: Ink) -> list[str]:
    """One reading as lines of WIDTH characters: a caption, then the image next to ten bars."""
    mark = ink.right if reading.index == reading.label else ink.wrong
    caption = f"{reading.label} read as {reading.index} "
    picture = crop(image)
    shares = softmax(reading.scores)
    lines = [caption + mark + " " * (WIDTH - len(caption) - 1)]
    for row, share in enumerate(shares):
        pairs = zip(picture[2 * row], picture[2 * row + 1], strict=True)
        pixels = "".join(ink.pixels(int(upper), int(lower)) for upper, lower in pairs)
        lines.append(f"{pixels} {row}{bar(share, ink.levels)}")
    return lines


def crop(image: np.ndarray) -> np.ndarray:
    """The PICTURE x PICTURE pixels around the digit; image is uint8 [32, 32]."""
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    top, left = ((int(i[0] + i[-1] + 1) - PICTURE) // 2 for i in (rows, columns))
    return image[top : top + PICTURE, left : left + PICTURE]


def softmax(scores: Sequence[float]) -> np.ndarray:
    shifted = np.exp(np.asarray(scores) - max(scores))
    return shifted / shifted.sum()


def bar(share: float, levels: str) -> str:
    """A bar of BAR characters, full at a share of 1."""
    steps = len(levels) - 1
    filled = round(share * BAR * steps)
    return "".join(levels[min(max(filled - i * steps, 0), steps)] for i in range(BAR))


def _half_block(upper: int, lower: int) -> str:
    """Two greys of the 256-colour palette, 232 (black) .. 255 (white)."""
    top, bottom = (232 + grey * 23 // 255 for grey in (upper, lower))
    return f"\x1b[38;5;{top};48;5;{bottom}m▀\x1b[0m"


def _shade(upper: int, lower: int) -> str:
    shades = " .:-=+*#%@"
    return shades[(upper + lower) * (len(shades) - 1) // 510]


COLOUR = Ink(_half_block, " ▏▎▍▌▋▊▉█", "\x1b[32m✓\x1b[0m", "\x1b[31m✗\x1b[0m")
PLAIN = Ink(_shade, " #", "+", "!")
