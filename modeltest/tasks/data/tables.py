"""CSV tables that lie beside the clips."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from modeltest.errors import DataError
from modeltest.tasks.data.texts import read_text

Row = tuple[int, dict[str, str]]


def read_table(root: Path, table: str, needed: Iterable[str]) -> list[Row]:
    """Rows with their number in the file, the header being row 1.

    Args:
        root: The data folder.
        table: The file below it.
        needed: Columns that it must have.

    Raises:
        DataError: The table is missing, is no CSV or lacks a column.
    """
    path = root / table
    try:
        with io.StringIO(read_text(path), newline="") as file:
            rows = csv.DictReader(file, strict=True)
            missing = set(needed) - set(rows.fieldnames or ())
            if missing:
                raise DataError(f"{path}: lacks the column {sorted(missing)[0]!r}")
            # Cells beyond the header have the key None, absent ones the value None.
            return [
                (number, {key: value or "" for key, value in row.items() if key is not None})
                for number, row in enumerate(rows, start=2)
            ]
    except (OSError, UnicodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: not readable as a table of labels ({reason})") from error
