"""Reads the lists that lie beside the clips: tables, splits, speakers."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 256 * 1024 * 1024


def read_text(path: Path) -> str:
    """The text of a regular file, UTF-8 with or without a byte order mark.

    A FIFO or a device in a list's place would block for ever or never end.

    Raises:
        OSError: Missing, not a regular file, or too large.
        UnicodeError: Not UTF-8.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > MAX_BYTES:
            raise OSError(errno.EFBIG, f"larger than {MAX_BYTES >> 20} MiB")
        return stream.read().decode("utf-8-sig")
