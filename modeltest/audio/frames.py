"""What a decoder process and its parent say to each other: JSON and raw bytes over pipes.

One frame is two lengths, a JSON object and a payload. Nothing in it can run code, and its
lengths are checked before memory is set aside.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

MAX_HEADER_BYTES = 1 << 20
_LENGTHS = struct.Struct("<IQ")
_BLOCK_BYTES = 1 << 16


class Frame(NamedTuple):
    """A JSON object and raw bytes."""

    header: dict[str, Any]
    payload: bytearray


class BrokenFrameError(Exception):
    """The other side ended, or said something that is no frame."""


def encode_frame(header: Mapping[str, Any], num_payload_bytes: int = 0) -> bytes:
    """What stands before the payload of a frame; lone surrogates pass."""
    try:
        text = orjson.dumps(header)
    except TypeError:  # what UTF-8 cannot hold
        text = json.dumps(header).encode("ascii")
    return _LENGTHS.pack(len(text), num_payload_bytes) + text


def write_frame(
    descriptor: int,
    header: Mapping[str, Any],
    payload: bytes | memoryview = b"",
    deadline_s: float | None = None,
) -> None:
    """Writes one frame whole.

    Args:
        descriptor: The pipe; non-blocking where there is a deadline.
        header: JSON values; lone surrogates pass.
        payload: Raw bytes.
        deadline_s: `time.monotonic()` at which to give up; None waits.

    Raises:
        TimeoutError: The deadline passed.
        OSError: The other side is gone.
    """
    write_bytes(descriptor, encode_frame(header, len(payload)), payload, deadline_s)


def write_bytes(
    descriptor: int,
    start: bytes,
    payload: bytes | memoryview = b"",
    deadline_s: float | None = None,
) -> None:
    """Writes an encoded frame and its payload; arguments and errors as for `write_frame`."""
    # A short frame in one piece wakes the other side once.
    parts = (start, payload) if len(payload) > _BLOCK_BYTES else (b"".join((start, payload)),)
    for part in parts:
        rest = memoryview(part)
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                _wait(descriptor, select.POLLOUT, deadline_s)


class FrameReader:
    """Reads frames from a pipe, of which nobody else may read: it takes what is there."""

    def __init__(self, descriptor: int) -> None:
        """Reads nothing yet."""
        self._descriptor = descriptor
        self._ahead = bytearray()

    @property
    def has_more(self) -> bool:
        """Whether it holds the beginning of another frame, which no poll would tell."""
        return bool(self._ahead)

    def read(
        self, max_payload_bytes: int | None = None, deadline_s: float | None = None
    ) -> Frame | None:
        """Reads one frame.

        Args:
            max_payload_bytes: Refuse a longer payload; None trusts the other side.
            deadline_s: `time.monotonic()` at which to give up; None waits.

        Returns:
            The frame, or None where the other side closed between two frames.

        Raises:
            TimeoutError: The deadline passed.
            BrokenFrameError: The other side closed within a frame, or it is no frame.
        """
        lengths = self._take(_LENGTHS.size, deadline_s)
        if not lengths:
            return None
        if len(lengths) < _LENGTHS.size:
            raise BrokenFrameError("it broke off")
        header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
        if header_bytes > MAX_HEADER_BYTES or (
            max_payload_bytes is not None and payload_bytes > max_payload_bytes
        ):
            raise BrokenFrameError("its reply is too long")
        text = self._take(header_bytes, deadline_s)
        payload = self._take(payload_bytes, deadline_s)
        if len(text) < header_bytes or len(payload) < payload_bytes:
            raise BrokenFrameError("it broke off")
        header = _decoded(text)
        if not isinstance(header, dict):
            raise BrokenFrameError("its reply is no JSON object")
        return Frame(header, payload)

    def _take(self, num_bytes: int, deadline_s: float | None) -> bytearray:
        """The next `num_bytes`, or fewer where the other side closes."""
        data = self._ahead[:num_bytes]
        del self._ahead[:num_bytes]
        while len(data) < num_bytes:
            _wait(self._descriptor, select.POLLIN, deadline_s)
            block = os.read(self._descriptor, _BLOCK_BYTES)
            if not block:
                break
            num_missing = num_bytes - len(data)
            data += block[:num_missing]
            self._ahead += block[num_missing:]
        return data


def _decoded(text: bytearray) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        pass
    try:
        return json.loads(text)  # lone surrogates
    except (ValueError, RecursionError):
        return None


def _wait(descriptor: int, event: int, deadline_s: float | None) -> None:
    if deadline_s is None:
        return
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline_s - time.monotonic(), 0) * 1000):
        raise TimeoutError
