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

MAX_HEADER_BYTES = 1 << 20
_LENGTHS = struct.Struct("<IQ")


class Frame(NamedTuple):
    """A JSON object and raw bytes."""

    header: dict[str, Any]
    payload: bytearray


class BrokenFrameError(Exception):
    """The other side ended, or said something that is no frame."""


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
    text = json.dumps(header).encode("ascii")
    for part in (_LENGTHS.pack(len(text), len(payload)) + text, payload):
        rest = memoryview(part)
        while rest:
            _wait(descriptor, select.POLLOUT, deadline_s)
            rest = rest[os.write(descriptor, rest) :]


def read_frame(
    descriptor: int, max_payload_bytes: int | None = None, deadline_s: float | None = None
) -> Frame | None:
    """Reads one frame.

    Args:
        descriptor: The pipe.
        max_payload_bytes: Refuse a longer payload; None trusts the other side.
        deadline_s: `time.monotonic()` at which to give up; None waits.

    Returns:
        The frame, or None where the other side closed between two frames.

    Raises:
        TimeoutError: The deadline passed.
        BrokenFrameError: The other side closed within a frame, or it is no frame.
    """
    lengths = _read(descriptor, _LENGTHS.size, deadline_s)
    if not lengths:
        return None
    if len(lengths) < _LENGTHS.size:
        raise BrokenFrameError("it broke off")
    header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    if header_bytes > MAX_HEADER_BYTES or (
        max_payload_bytes is not None and payload_bytes > max_payload_bytes
    ):
        raise BrokenFrameError("its reply is too long")
    text = _read(descriptor, header_bytes, deadline_s)
    payload = _read(descriptor, payload_bytes, deadline_s)
    if len(text) < header_bytes or len(payload) < payload_bytes:
        raise BrokenFrameError("it broke off")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise BrokenFrameError("its reply is no JSON object")
    return Frame(header, payload)


def _read(descriptor: int, num_bytes: int, deadline_s: float | None) -> bytearray:
    """Reads `num_bytes`, or fewer where the other side closes."""
    data = bytearray(num_bytes)
    done = 0
    with memoryview(data) as view:
        while done < num_bytes:
            _wait(descriptor, select.POLLIN, deadline_s)
            count = os.readv(descriptor, [view[done:]])
            if count == 0:
                break
            done += count
    return data[:done] if done < num_bytes else data


def _wait(descriptor: int, event: int, deadline_s: float | None) -> None:
    if deadline_s is None:
        return
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline_s - time.monotonic(), 0) * 1000):
        raise TimeoutError
