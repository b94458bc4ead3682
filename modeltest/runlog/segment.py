"""Append-only segments: one process's records, one line each, with a checksum.

A line is the CRC-32 of the JSON text in eight hex digits, a space, compact ASCII JSON and
a newline, written by one `write`. A reader takes each segment's longest valid prefix, so a
torn last line loses that line only; a valid line after a broken one is damage.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from modeltest.errors import DataError, StorageError, one_line
from modeltest.plain_files import open_regular, strict_json
from modeltest.runlog.atomic import NO_SPACE, make_folder, sync_folder
from modeltest.runlog.record_shape import is_record

SYNC_RECORDS = 64
# Where it exists, the cheaper call: times of access need not be on the disk.
_SYNC = getattr(os, "fdatasync", os.fsync)
_ENCODE = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
SYNC_INTERVAL_S = 1.0


class SegmentWriter:
    """Writes one new segment; an existing file is never touched.

    Records are synced to the disk at 64 records, 1 s after the first unsynced one, at phase
    ends and on close. A thread keeps the second, however long the next record takes.
    """

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._path = path
        self._failed = ""
        self._cause: OSError | None = None
        self._told = False
        self._unsynced = 0
        self._oldest_s = 0.0
        # A signal may end the main thread's `with` halfway; it must get in again to close.
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        try:
            sync_folder(path.parent)
            threading.Thread(target=self._sync_in_time, name="log-sync", daemon=True).start()
        except BaseException:
            os.close(self._descriptor)
            raise

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
            StorageError: The disk refused it or one before it, wholly or in part. The segment
                takes no more records then: one behind a torn line would be lost.
            ValueError: The record holds NaN or an infinity.
        """
        line = encode_line(record)
        with self._lock:
            if self._failed:
                raise self._refusal() from self._cause
            try:
                written = os.write(self._descriptor, line)
                if written != len(line):
                    told = f"only {written} of {len(line)} bytes were written"
                    raise OSError(errno.ENOSPC, told)
            except OSError as error:
                raise self._failure(error) from error
            self._unsynced += 1
            if self._unsynced == 1:
                self._oldest_s = time.monotonic()
                self._wake.notify()
            elif self._unsynced >= SYNC_RECORDS:
                self.sync()

    def sync(self) -> None:
        """Returns when all records are on the disk.

        Raises:
            StorageError: They are not. It is final: after a failed sync the kernel forgets
                which pages were not written, so a second one would lie.
        """
        with self._lock:
            if self._failed:
                if not self._told:
                    raise self._refusal() from self._cause
                return
            try:
                _SYNC(self._descriptor)
            except OSError as error:
                raise self._failure(error) from error
            self._unsynced = 0

    def close(self) -> None:
        """Syncs and closes; further calls do nothing."""
        with self._lock:
            if self._descriptor < 0:
                return
            try:
                self.sync()
            finally:
                descriptor, self._descriptor = self._descriptor, -1
                self._wake.notify()
                os.close(descriptor)

    def _sync_in_time(self) -> None:
        """The thread: syncs what has waited for a second; ends when the segment is closed."""
        with self._lock:
            while self._descriptor >= 0 and not self._failed:
                if not self._unsynced:
                    self._wake.wait()
                    continue
                left_s = self._oldest_s + SYNC_INTERVAL_S - time.monotonic()
                if left_s > 0:
                    self._wake.wait(left_s)
                    continue
                try:
                    _SYNC(self._descriptor)
                    self._unsynced = 0
                except OSError as error:  # the next call of the owner tells it
                    self._fail(error)

    def _fail(self, error: OSError) -> None:
        todo = "free some space" if error.errno in NO_SPACE else "mend the cause"
        self._failed = f"the disk refused a record ({error.strerror}); {todo} and resume the run"
        self._cause = error

    def _failure(self, error: OSError) -> StorageError:
        self._fail(error)
        return self._refusal()

    def _refusal(self) -> StorageError:
        self._told = True
        return StorageError(f"{self._path}: {self._failed}")


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """What a segment holds.

    Attributes:
        records: The longest valid prefix.
        torn: The last line is incomplete and was left out.
        damaged: A valid line follows a broken one, or a line with a right checksum is no
            record; the segment cannot be trusted.
    """

    records: tuple[dict[str, Any], ...]
    torn: bool
    damaged: bool


def encode_line(record: Mapping[str, Any]) -> bytes:
    """One record as a line of a segment."""
    text = _ENCODE(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The record of a line without its newline, or None when it is broken or no record."""
    record = decode_known_line(line)
    return record if is_record(record) else None


def decode_known_line(line: bytes) -> Any:
    """The value of a line that was a record when it was read before; None when it is broken.

    Looking at the record's shape again would take as long as all else.
    """
    text = _checked(line)
    if text is None:
        return None
    try:
        return orjson.loads(text)  # a long run's log is read three times as fast as by json
    except ValueError:
        return _decoded_slowly(text)


def _decoded_slowly(text: bytes) -> Any:
    """What orjson refuses and `encode_line` writes: lone surrogates in replies or names."""
    try:
        return strict_json(text.decode("ascii"))
    except (ValueError, RecursionError):
        return None


def _checked(line: bytes) -> bytes | None:
    """The text of a line whose checksum is right, or None."""
    checksum, space, text = line[:8], line[8:9], line[9:]
    return text if space == b" " and checksum == b"%08x" % zlib.crc32(text) else None


class SegmentReader:
    """Reads the longest valid prefix of a segment, and says at its end what follows it.

    Iterate once; each item is the offset of a line, its length without the newline, and its
    record. In memory is one line at a time.

    Attributes:
        torn: The last line is incomplete and was left out; known at the end.
        damaged: As `SegmentContent.damaged`; known at the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.torn = False
        self.damaged = False

    def __iter__(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yields the records of the prefix.

        Raises:
            DataError: The segment cannot be read, or is no regular file.
        """
        offset = 0
        for line in read_lines(self._path):
            whole = line.endswith(b"\n")
            text = line[:-1] if whole else line
            if not whole:
                self.torn = True
                return  # a process may be writing it; what it writes next is no damage
            if self.torn or (record := decode_line(text)) is None:
                self.torn = True
                # A whole line with a right checksum that is no record was not torn: it was
                # written so.
                self.damaged = self.damaged or _checked(text) is not None
            else:
                yield offset, len(text), record
            offset += len(line)


def read_segment(path: Path) -> SegmentContent:
    """Reads the longest valid prefix of a segment and says what follows it.

    Raises:
        DataError: It cannot be read, or is no regular file.
    """
    reader = SegmentReader(path)
    records = tuple(record for _, _, record in reader)
    return SegmentContent(records, torn=reader.torn, damaged=reader.damaged)


def read_lines(path: Path) -> Iterator[bytes]:
    """A segment's lines, right or not, each with its newline, which the last may lack.

    Raises:
        DataError: It cannot be read, or is no regular file.
    """
    try:
        with open_regular(path) as stream:
            yield from stream
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(one_line(f"{path}: cannot be read ({reason}); move it away")) from error
