"""`outputs/index.csv`: a line per run, of all processes that share the output folder."""

from __future__ import annotations

import csv
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modeltest.errors import one_line
from modeltest.reports.csv_files import INDEX_COLUMNS, csv_bytes
from modeltest.reports.performance.summary import device_label
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.manifest import performance_place_from, place_from
from modeltest.runlog.sweep_log import COMMAND as PERF

_NAMES_A_RUN = ("run", "created", "command")
_INCOMPLETE = "INCOMPLETE"
# Others hold the file for milliseconds; a run that is interrupted has seconds to end.
_WAIT_S = 2.0
_PAUSE_S = 0.005


def append_row(index_file: Path, row: Mapping[str, Any]) -> None:
    """Enters a run's line at the end of an `index.csv`, in place of one that it has there.

    That an interrupted run is INCOMPLETE replaces no line of an earlier end of it.

    Raises:
        OSError: The disk refused, another process holds the file, or it is a link.
    """
    is_incomplete = row["validity"] == _INCOMPLETE
    _enter(index_file, row, lambda own: is_incomplete and any(map(_tells_an_end, own)))


def correct_row(index_file: Path, row: Mapping[str, Any]) -> None:
    """Enters a run's line in place of one that has another verdict; where it has none, nothing.

    A log may be damaged, or repaired, after its run was entered.

    Raises:
        OSError: As `append_row`.
    """
    begin = _begin(row)
    own = [line for line in _lines_of(index_file) if line.startswith(begin)]
    if any(_validity(line) != row["validity"] for line in own):
        _enter(index_file, row, lambda _own: False)


def _enter(
    index_file: Path, row: Mapping[str, Any], is_told: Callable[[list[bytes]], bool]
) -> None:
    """Enters a run's line in place of its lines, unless it is there or `is_told` by these."""
    row = {**row, "reasons": one_line(str(row.get("reasons") or ""))}
    line, begin = csv_bytes(INDEX_COLUMNS, [row], header=False), _begin(row)
    with _held(index_file) as descriptor:
        lines = _content(descriptor).splitlines(keepends=True)
        own = [each for each in lines if each.startswith(begin)]
        if line in own or is_told(own):
            return
        if own:
            kept = [each for each in lines if not each.startswith(begin)]
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            write_atomically(index_file, b"".join([*kept, *_ended(kept), line]), mode)
        else:
            head = [] if lines else [csv_bytes(INDEX_COLUMNS, [])]
            _append(descriptor, b"".join([*head, *_ended(lines), line]), index_file)


def incomplete_row(manifest: Mapping[str, Any], folder: Path, reason: str) -> tuple[Path, Any]:
    """The index and the line of a run that did not end: no figure, so that it is quickly made.

    Args:
        manifest: Of the run.
        folder: Where it lies.
        reason: What ended it.

    Raises:
        DataError: The manifest names no place below an output folder.
    """
    measured = manifest.get("command") == PERF
    place = (performance_place_from if measured else place_from)(manifest, folder)
    facts = manifest if measured else manifest["place"]
    row = {
        "run": place.run_id,
        "created": manifest["started"],
        "command": manifest["command"],
        "model": manifest["model"]["name"],
        "task": manifest["task"]["name"] if manifest["task"] else None,
        "device": device_label(manifest["device"]) if measured else facts["device_label"],
        "dtype": facts["dtype"],
        "validity": _INCOMPLETE,
        "reasons": reason,
        "path": str(place.run_folder.relative_to(place.output_dir)),
    }
    return place.index_file, row


@contextmanager
def _held(index_file: Path) -> Iterator[int]:
    """The file, which no other process writes meanwhile; it is made where there is none."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    until_s = time.monotonic() + _WAIT_S
    while True:
        descriptor = os.open(index_file, flags, 0o644)
        try:
            if _is_ours(descriptor, index_file):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > until_s:
            raise OSError(errno.EWOULDBLOCK, "another process holds it", str(index_file))
        time.sleep(_PAUSE_S)


def _is_ours(descriptor: int, index_file: Path) -> bool:
    """Locks the file; False where another has it, or put a new one in its place meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), index_file.lstat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _lines_of(index_file: Path) -> list[bytes]:
    """The lines of a file that is only read; none where there is no such file."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(index_file, flags)
    except OSError:
        return []
    try:
        return _content(descriptor).splitlines(keepends=True)
    except OSError:  # a folder, a FIFO
        return []
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _begin(row: Mapping[str, Any]) -> bytes:
    """What the lines of a run begin with."""
    return csv_bytes(_NAMES_A_RUN, [row], header=False).rstrip(b"\r\n") + b","


def _tells_an_end(line: bytes) -> bool:
    """Whether a line is whole and says how its run ended."""
    return line.endswith(b"\n") and _validity(line) != _INCOMPLETE


def _validity(line: bytes) -> str:
    """The verdict's word of a line; a torn one may have none."""
    cells = next(csv.reader([line.decode("utf-8", "replace")]), [])
    return dict(zip(INDEX_COLUMNS, cells, strict=False)).get("validity", _INCOMPLETE)


def _ended(lines: list[bytes]) -> list[bytes]:
    """What ends a torn last line, so that it stays alone."""
    return [b"\r\n"] if lines and not lines[-1].endswith(b"\n") else []


def _append(descriptor: int, content: bytes, index_file: Path) -> None:
    if os.write(descriptor, content) != len(content):
        raise OSError(errno.ENOSPC, "no space left for a whole line", str(index_file))
    os.fsync(descriptor)
