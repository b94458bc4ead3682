"""One process works on a run at a time; the lock dies with its owner."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modeltest.errors import DataError, StorageError

LOCK_NAME = "lock"
_PROBE_S = 0.1
"""Those who only ask hold the lock far shorter."""


@contextmanager
def locked(run_folder: Path) -> Iterator[None]:
    """Holds the run for this process; does not wait for its owner.

    The kernel frees the lock when the process ends, however it ends, so a lock file that
    lies there is no sign of a running process.

    Raises:
        DataError: Another process holds it; the message names its pid and host.
        StorageError: It cannot be opened.
    """
    path = run_folder / LOCK_NAME
    descriptor = _acquire(path)
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(owner).encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # still held, so nobody has taken this file for theirs
        os.close(descriptor)


def _acquire(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    until_s = time.monotonic() + _PROBE_S
    while True:
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:  # a link, a full disk, a read-only folder
            raise StorageError(f"{path}: cannot be opened ({error.strerror})") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StorageError(f"{path}: is no regular file; remove it")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass  # its owner ended between our open and our lock, and took the file away
        except BlockingIOError:
            if time.monotonic() > until_s:
                owner = _owner(descriptor)
                os.close(descriptor)
                raise _refusal(path.parent, owner) from None
            time.sleep(_PROBE_S / 20)
        os.close(descriptor)


def is_locked(run_folder: Path) -> bool:
    """Whether a process works on the run now."""
    return bool(_present_owner(run_folder))


def refuse_locked(run_folder: Path) -> None:
    """Makes sure that no process works on the run now, before any work is done for it.

    Raises:
        DataError: One does; the message names its pid and host.
    """
    owner = _present_owner(run_folder)
    if owner:
        raise _refusal(run_folder, owner)


def _refusal(run_folder: Path, owner: str) -> DataError:
    return DataError(f"run {run_folder.name} is being worked on by {owner}; wait for it or end it")


def _present_owner(run_folder: Path) -> str:
    try:
        descriptor = os.open(run_folder / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(descriptor)
    finally:
        os.close(descriptor)
    return ""


def _owner(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(owner['pid'])} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # it has the lock and has not written its name yet
