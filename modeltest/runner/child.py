"""A process of our own that works for this one: started, talked to in frames, and ended."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from modeltest.audio.frames import BrokenFrameError, FrameReader, write_frame
from modeltest.errors import (
    DataError,
    DeviceError,
    ModelError,
    ModeltestError,
    SettingsError,
    StorageError,
    UsageError,
    one_line,
)

_LOG = logging.getLogger(__name__)
_MAX_MESSAGES_BYTES = 1 << 16
_EXIT_S = 30.0
_KILLED_S = 5.0
_ERRORS = {
    kind.__name__: kind
    for kind in (DataError, DeviceError, ModelError, SettingsError, StorageError, UsageError)
}

# With the parent's search path; `-m` would put the current folder first.
_CODE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from modeltest.runner.{module} import main
main()
"""


class Child:
    """One process that runs `main` of a module of `modeltest.runner`.

    It reads frames from descriptor 0 and answers on descriptor 1; see `take_standard_output`.
    Ctrl-C does not reach it. When this process dies, its descriptor 0 closes.

    Attributes:
        answers: Its frames.
    """

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        """Starts it.

        Args:
            module: Below `modeltest.runner`.
            environment: Variables beside those of this process.
        """
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `end`)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CODE.format(module=module), json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            bufsize=0,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C in the terminal is the parent's business
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise BrokenFrameError("it has no pipes")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._given_up_s = math.inf
        self.answers = FrameReader(self._stdout.fileno())

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor that becomes readable when it answers or ends."""
        return self._stdout.fileno()

    def send(
        self,
        header: Mapping[str, Any],
        payload: bytes | memoryview = b"",
        deadline_s: float | None = None,
    ) -> None:
        """Sends a frame.

        Args:
            header: JSON values.
            payload: Raw bytes.
            deadline_s: `time.monotonic()` at which to give up; None waits.

        Raises:
            TimeoutError: It does not take the frame.
            OSError: It is gone.
        """
        os.set_blocking(self._stdin.fileno(), deadline_s is None)
        write_frame(self._stdin.fileno(), header, payload, deadline_s)

    @property
    def is_overdue(self) -> bool:
        """Whether it was killed, and time enough has passed for any process to end by that."""
        return time.monotonic() > self._given_up_s

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kills it; `end` is still to be called."""
        self._given_up_s = min(self._given_up_s, time.monotonic() + _KILLED_S)
        with suppress(ProcessLookupError):
            self._process.kill()

    def end(self, exit_s: float = _EXIT_S) -> str:
        """Waits for a child that has answered, died or was killed, and logs what it said.

        A process that waits for its device or its storage in the kernel does not end by being
        killed before that answers, which may be never. It is left behind some seconds after.

        Args:
            exit_s: How long it may take to end by itself before it is killed.

        Returns:
            How it ended, for a reader: nothing when it did so in order.
        """
        self._stdin.close()  # a child that waits for more ends by this
        if not self._ends_within(min(exit_s, self._given_up_s - time.monotonic())):
            self.kill()
            self._ends_within(self._given_up_s - time.monotonic())
        self._stdout.close()
        last = self._log_messages()
        status = self._process.poll()
        if status is None:
            return f"process {self.pid} was killed and does not end; it is left behind"
        if status < 0:
            return f"process ended by signal {-status}"
        return f"process ended with status {status}: {last}" if status else ""

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _log_messages(self) -> str:
        """What the child and its libraries said, for run.log; returns the last line."""
        with self._messages as messages:
            size = messages.seek(0, os.SEEK_END)
            messages.seek(max(0, size - _MAX_MESSAGES_BYTES))
            lines = messages.read().decode("utf-8", errors="replace").splitlines()
        for line in lines:
            _LOG.info("%s", line)
        return one_line(lines[-1]) if lines else ""


def take_standard_output() -> int:
    """In a child: the descriptor for its answers.

    What a library prints goes to standard error from here on; among the answers it would
    break a frame.
    """
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def error_header(error: ModeltestError) -> dict[str, str]:
    """In a child: an error as JSON values."""
    return {"error": str(error), "kind": type(error).__name__}


def raise_error(header: Mapping[str, Any]) -> NoReturn:
    """Raises the error that `error_header` described."""
    kind = _ERRORS.get(str(header.get("kind")), ModeltestError)
    raise kind(str(header["error"]))
