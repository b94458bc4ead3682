"""How much room the rest of a run needs, for the message of a disk that is full."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modeltest.errors import DataError, StorageError
from modeltest.runlog.atomic import NO_SPACE

# The reports have half the log's size where replies are short; long ones stand in three of them.
_REPORTS_PER_LOG = 2.0
_BARE_REPORTS_BYTES = 1_000_000
_GENEROUS = 1.5
_MB = 10**6
_GB = 10**9


@contextmanager
def saying_what_to_free(run_folder: Path) -> Iterator[None]:
    """Where the disk is full, adds to the message how much room is needed.

    Raises:
        StorageError: In place of what a full disk raised.
    """
    try:
        yield
    except (OSError, StorageError) as error:
        if not _is_of_full_disk(error):
            raise
        told = str(error)
        if isinstance(error, OSError):
            told += "; free some space and try again"
        raise StorageError(f"{told} ({space_in_words(run_folder)})") from error


def space_in_words(run_folder: Path) -> str:
    """What the rest of a run needs on the disk, its reports included, and what is free.

    The first is known of accuracy runs that have a sample in their log.
    """
    there = next(each for each in (run_folder, *run_folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    needed = _needed_bytes(run_folder)
    if not needed:
        return f"{_in_words(free)} are free"
    words = f"the rest of the run needs about {_in_words(needed)}, {_in_words(free)} are free"
    if free > needed:
        words += ": is it a quota, or a limit of file sizes (ulimit -f)?"
    return words


def _needed_bytes(run_folder: Path) -> int:
    """A generous guess, a whole number of MB or GB; 0 where nothing is known."""
    from modeltest.runlog.layout import LOG_FOLDER
    from modeltest.runlog.run_log import read_run

    try:
        run = read_run(run_folder)
        segments = (run_folder / LOG_FOLDER).glob("*.jsonl")
        log_bytes = sum(path.stat().st_size for path in segments)
    except (DataError, OSError):  # a sweep; or nothing is there yet
        return 0
    num_done, num_planned = len(run.samples), int(run.manifest["data"]["num_samples"])
    if not num_done:
        return 0
    num_records = max(num_planned - num_done, 0) + _REPORTS_PER_LOG * num_planned
    needed = _GENEROUS * (num_records * log_bytes / num_done + _BARE_REPORTS_BYTES)
    unit = _MB if needed < 10 * _GB else _GB
    return math.ceil(needed / unit) * unit


def _in_words(num_bytes: int) -> str:
    if num_bytes < _MB:
        return f"{num_bytes // 1000} kB"
    return f"{num_bytes // _MB} MB" if num_bytes < 10 * _GB else f"{num_bytes // _GB} GB"


def _is_of_full_disk(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return True
        error = error.__cause__
    return False
