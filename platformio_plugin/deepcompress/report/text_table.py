"""Tables of plain text for the terminal."""

from __future__ import annotations

from deepcompress import escape


def columns(rows: list[list[str]], *, right: tuple[int, ...]) -> list[str]:
    """Rows of text as aligned lines, a rule under the first; texts are escaped."""
    rows = [[escape.name(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * max(len(line) for line in lines), *lines[1:]]
