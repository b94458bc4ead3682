"""Whole files or none: temporary file, sync, rename, sync of the folder."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk says, or a full quota."""


def write_atomically(path: Path, content: bytes | Iterable[bytes], mode: int = 0o644) -> None:
    """Replaces `path` by `content`, so that a reader sees the old file or the new one.

    Args:
        path: The file; its folder is made.
        content: All of it, or its parts one after the other.
        mode: Its permissions.

    Raises:
        OSError: The disk refused; the old file is intact.
    """
    make_folder(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines([content] if isinstance(content, bytes) else content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing, each durable in the one above.

    Raises:
        OSError: The disk refused, or a file is in its place.
    """
    missing = list(takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Makes the folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
