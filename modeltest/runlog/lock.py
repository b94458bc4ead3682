"""One process works on a run at a time; the lock dies with its owner."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modeltest.errors import DataError

LOCK_NAME = "lock"


@contextmanager
def locked(run_folder: Path) -> Iterator[None]:
    """Holds the run for this process; never waits.

    The kernel frees the lock when the process ends, however it ends, so a lock file that
    lies there is no sign of a running process.

    Raises:
        DataError: Another process holds it; the message names its pid and host.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(run_folder / LOCK_NAME, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"run {run_folder.name} is being worked on by {_owner(descriptor)}; wait for it "
                "or end it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(
            descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
        )
        yield
    finally:
        os.close(descriptor)


def is_locked(run_folder: Path) -> bool:
    """Whether a process works on the run now."""
    try:
        descriptor = os.open(run_folder / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _owner(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(owner['pid'])} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # it has the lock and has not written its name yet
