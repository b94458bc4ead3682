"""Append-only segments: one process's records, one line each, with a checksum.

A line is the CRC-32 of the JSON text in eight hex digits, a space, compact ASCII JSON and
a newline, written by one `write`. A reader takes each segment's longest valid prefix, so a
torn last line loses that line only; a valid line after a broken one is damage.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from modeltest.errors import StorageError
from modeltest.runlog.atomic import sync_folder

SYNC_RECORDS = 64
# Where it exists, the cheaper call: times of access need not be on the disk.
_SYNC = getattr(os, "fdatasync", os.fsync)
_ENCODE = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
SYNC_INTERVAL_S = 1.0


class SegmentWriter:
    """Writes one new segment; an existing file is never touched.

    Records are synced to the disk at 64 records, after 1 s, at phase ends and on close.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        self._path = path
        self._failed = ""
        self._unsynced = 0
        self._synced_s = time.monotonic()
        sync_folder(path.parent)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record.

        Raises:
            StorageError: The disk refused it, wholly or in part. The segment takes no more
                records then: one behind a torn line would be lost.
            ValueError: The record holds NaN or an infinity.
        """
        if self._failed:
            raise StorageError(f"{self._path}: {self._failed}")
        line = encode_line(record)
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise self._failure(error.strerror) from error
        if written != len(line):
            raise self._failure(f"only {written} of {len(line)} bytes were written")
        self._unsynced += 1
        overdue = time.monotonic() - self._synced_s >= SYNC_INTERVAL_S
        if self._unsynced >= SYNC_RECORDS or overdue:
            self.sync()

    def sync(self) -> None:
        """Returns when all records are on the disk.

        Raises:
            StorageError: They are not. It is final: after a failed sync the kernel forgets
                which pages were not written, so a second one would lie.
        """
        if self._failed:
            return
        try:
            _SYNC(self._descriptor)
        except OSError as error:
            raise self._failure(error.strerror) from error
        self._unsynced = 0
        self._synced_s = time.monotonic()

    def close(self) -> None:
        """Syncs and closes; further calls do nothing."""
        if self._descriptor < 0:
            return
        try:
            self.sync()
        finally:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _failure(self, reason: str | None) -> StorageError:
        self._failed = f"the disk refused a record ({reason}); free some space and resume the run"
        return StorageError(f"{self._path}: {self._failed}")


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """What a segment holds.

    Attributes:
        records: The longest valid prefix.
        torn: The last line is incomplete and was left out.
        damaged: A valid line follows a broken one; the segment cannot be trusted.
    """

    records: tuple[dict[str, Any], ...]
    torn: bool
    damaged: bool


def encode_line(record: Mapping[str, Any]) -> bytes:
    """One record as a line of a segment."""
    text = _ENCODE(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The record of a line without its newline, or None when the line is broken."""
    checksum, space, text = line[:8], line[8:9], line[9:]
    if space != b" " or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        record = orjson.loads(text)  # a long run's log is read three times as fast as by json
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def read_segment(path: Path) -> SegmentContent:
    """Reads the longest valid prefix of a segment and says what follows it."""
    *lines, tail = path.read_bytes().split(b"\n")
    records: list[dict[str, Any]] = []
    broken_at: int | None = None
    for number, line in enumerate(lines):
        record = decode_line(line)
        if record is None:
            broken_at = number
            break
        records.append(record)
    rest = [] if broken_at is None else lines[broken_at + 1 :]
    damaged = any(decode_line(line) is not None for line in rest)
    return SegmentContent(tuple(records), torn=bool(tail) or broken_at is not None, damaged=damaged)
