"""Asks a program outside this process, and never waits for it longer than allowed.

A driver that hangs can keep a process that calls it from ending even when it is killed, and what
a program started in turn can hold its output open. So at the deadline a program is killed with all
that it started, what it wrote until then is taken, and what does not end is left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

# To read what is there already, and from the kill to the end of a process that can be ended.
_MOMENT_S = 0.1


class Deadline:
    """A time limit that runs from its making and that several calls may share.

    Attributes:
        limit_s: The whole of it, seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._end_s = time.monotonic() + limit_s

    def left_s(self) -> float:
        """Seconds that are left, not below 0."""
        return max(0.0, self._end_s - time.monotonic())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program wrote, and its exit status (minus the signal); None where it hung."""

    output: str
    messages: str
    status: int | None


class OutsideCall:
    """A program that runs beside this one until `answer` or the end of the `with` block."""

    def __init__(self, command: Sequence[str], deadline: Deadline) -> None:
        """Starts it and returns at once.

        Args:
            command: Program and arguments; no shell.
            deadline: When it has to have answered.

        Raises:
            OSError: It cannot be started.
        """
        self._deadline = deadline
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a group of its own, to be killed as one
        )

    def __enter__(self) -> OutsideCall:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._kill()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def answer(self) -> Answer:
        """Waits for its end, and ends it at the deadline; what it wrote until then counts."""
        try:
            said = self._process.communicate(timeout=max(_MOMENT_S, self._deadline.left_s()))
        except subprocess.TimeoutExpired as error:
            said = (error.output or b"", error.stderr or b"")
        status = self._process.poll()
        if status is None:
            self._kill()
        output, messages = (text.decode("utf-8", errors="replace") for text in said)
        return Answer(output, messages, status)

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_MOMENT_S)
