"""Reads the lists that lie beside the clips: tables, splits, speakers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modeltest.plain_files import read_regular, strict_json

MAX_BYTES = 256 * 1024 * 1024


def read_text(path: Path) -> str:
    """The text of a regular file, UTF-8 with or without a byte order mark.

    A FIFO or a device in a list's place would block for ever or never end.

    Raises:
        OSError: Missing, not a regular file, or too large.
        UnicodeError: Not UTF-8.
    """
    return read_regular(path, MAX_BYTES).decode("utf-8-sig")


def read_json(path: Path) -> Any:
    """The value of a JSON file; a key that stands twice and NaN are refused.

    Raises:
        OSError: As `read_text`.
        ValueError: Not UTF-8, or not JSON to the letter.
        RecursionError: Nested too deeply.
    """
    return strict_json(read_text(path))
