"""Where a comparison's files go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path

from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.layout import refuse_links

PAGE = "compare.html"
FIGURES = "comparison.csv"
_FOLDER = "comparison"
_LONGEST_NAME = 40


def new_folder(run_ids: tuple[str, str], output_dir: Path) -> Path:
    """Makes a folder that no comparison has; the second one of the same runs ends in `-2`.

    Args:
        run_ids: Of A and B.
        output_dir: The folder above everything.

    Raises:
        OSError: The disk refused.
        DataError: A folder is a link.
    """
    # A manifest may hold any text in place of an id.
    stem = "-".join(re.sub(r"[^A-Za-z0-9-]+", "_", run)[:_LONGEST_NAME] for run in run_ids)
    above = output_dir.resolve()
    parent = above / _FOLDER
    refuse_links(above, parent)
    parent.mkdir(parents=True, exist_ok=True)
    names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
    return next(parent / name for name in names if _is_made(parent / name))


def write_files(
    folder: Path, files: Mapping[str, tuple[str, bytes | Iterable[bytes]]]
) -> dict[str, Path]:
    """Writes a comparison's files, each whole or not at all.

    Args:
        folder: As `new_folder` made it.
        files: By what a user looks for: a file's name and its bytes.

    Returns:
        What a user looks for, and where it is.

    Raises:
        OSError: The disk refused.
    """
    for name, content in files.values():
        write_atomically(folder / name, content)
    return {what: folder / name for what, (name, _) in files.items()}


def _is_made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True
