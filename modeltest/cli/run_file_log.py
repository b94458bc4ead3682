"""`run.log`: what happened during a run, warnings of libraries included."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modeltest.errors import StorageError, one_line


class _Unforgeable(logging.Formatter):
    """A record's further lines are indented, so that no text can pass for a record."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(one_line(line) for line in super().format(record).split("\n"))


class _Dispensable(logging.StreamHandler):  # type: ignore[type-arg]
    """Says once that the disk takes no more messages; the run goes on without them."""

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            print(f"modeltest: warning: run.log: {error.strerror}", file=sys.stderr)


@contextmanager
def run_file_log(run_folder: Path) -> Iterator[logging.Logger]:
    """Sends modeltest's and the libraries' messages to `run.log` while it is open.

    Warnings of libraries go to the file only: the terminal is for what the user must know.

    Raises:
        StorageError: The file cannot be opened, or is a link.
    """
    path = run_folder / "run.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        stream = os.fdopen(os.open(path, flags, 0o600), "a", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
    handler = _Dispensable(stream)
    handler.setFormatter(_Unforgeable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    libraries = logging.getLogger("transformers")
    taken = list(libraries.handlers)
    for library_handler in taken:
        libraries.removeHandler(library_handler)
    propagated, libraries.propagate = libraries.propagate, True
    try:
        yield logging.getLogger("modeltest")
    except BaseException as error:
        root.error("ended by %s: %s", type(error).__name__, error)
        raise
    finally:
        libraries.propagate = propagated
        for library_handler in taken:
            libraries.addHandler(library_handler)
        logging.captureWarnings(False)
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
        with suppress(OSError):
            stream.close()
