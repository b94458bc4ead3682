"""Reads files that anybody may have put there: regular ones only, JSON to the letter."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading.

    A FIFO or a device in a file's place would block for ever or never end.

    Raises:
        OSError: Missing, or not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file.

    Args:
        path: The file; links are followed.
        max_bytes: More is refused before anything is read.

    Raises:
        OSError: As `open_regular`, or too large.
    """
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > max_bytes:
            raise OSError(errno.EFBIG, f"larger than {max_bytes >> 20} MiB", str(path))
        return stream.read()


def strict_json(text: str) -> Any:
    """The value of a JSON text as RFC 8259 has it: no NaN, no key twice.

    Python's own reader takes the last of two equal keys, so that a file says something else
    than it seems to.

    Raises:
        ValueError: It is no such text.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_refuse_constant)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {ascii(twin)[:60]} stands twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
