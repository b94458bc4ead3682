"""Text for a terminal of a given width, in which Chinese characters take two cells."""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Collection, Sequence

# A line may end at a space, beside every wide character, and in paths behind a slash.
_WORDS, _PARTS = re.compile(r" +|[^ ]+"), re.compile(r" +|[^ /]*/|[^ /]+")


def terminal_columns() -> int | None:
    """Cells of a line where a person reads standard output, else None.

    What scripts read is never folded.
    """
    try:
        if not sys.stdout.isatty():
            return None
        return shutil.get_terminal_size().columns
    except (OSError, ValueError):  # closed
        return None


def cells(text: str) -> int:
    """How many cells a printable text takes."""
    return sum(map(_cells, text))


def shortened(text: str, columns: int) -> str:
    """Text of at most so many cells; what is left out at its end is an ellipsis."""
    if cells(text) <= columns:
        return text
    kept, room = "", columns - 1
    for character in text:
        room -= _cells(character)
        if room < 0:
            break
        kept += character
    return f"{kept}…"


def fold(text: str, columns: int | None, indent: str = "", at_slashes: bool = False) -> str:
    """Breaks a line so that it fits; a word that is longer than a line stays whole.

    So a path can be copied.

    Args:
        text: One printable line.
        columns: Cells of a line; None leaves the text as it is.
        indent: What further lines begin with.
        at_slashes: Break paths, too.
    """
    if columns is None or cells(text) <= columns:
        return text
    lines, line = [], ""
    for piece in _pieces(text, _PARTS if at_slashes else _WORDS):
        fits_alone = cells(indent + piece.strip()) <= columns
        if fits_alone and line.strip() and cells(line + piece.rstrip()) > columns:
            lines.append(line.rstrip())
            line = indent + piece.lstrip()
        else:
            line += piece
    return "\n".join([*lines, line.rstrip()])


def padded(text: str, width: int, to_the_right: bool = False) -> str:
    """Text filled with blanks to a number of cells."""
    blanks = " " * max(0, width - cells(text))
    return blanks + text if to_the_right else text + blanks


def table(
    headers: Sequence[Sequence[str]],
    rows: Sequence[Sequence[str]],
    left: Collection[int],
    columns: int | None,
) -> str:
    """A table with two blanks between columns, or one where two would not fit.

    Args:
        headers: Lines of the header, a cell per column.
        rows: Printable cells.
        left: Numbers of the columns that stand at their left side, the others at their right.
        columns: Cells of a line; None is as many as it takes.
    """
    lines = [*headers, *rows]
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    gap = "  " if columns is None or sum(widths) + 2 * (len(widths) - 1) <= columns else " "
    shown = [
        gap.join(
            padded(cell, width, to_the_right=number not in left)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    shown.insert(len(headers), gap.join("-" * width for width in widths))
    return "\n".join(shown)


def _cells(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:  # drawn over the one before
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _pieces(text: str, pattern: re.Pattern[str]) -> list[str]:
    found: list[str] = []
    for piece in pattern.findall(text):
        start = 0
        for place, character in enumerate(piece):
            if cells(character) == 2:
                found += [part for part in (piece[start:place], character) if part]
                start = place + 1
        if start < len(piece):
            found.append(piece[start:])
    return found
