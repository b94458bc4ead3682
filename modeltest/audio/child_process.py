"""One decoder process: started, asked, and ended when it misbehaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import IO

from modeltest.audio.frames import BrokenFrameError, Frame, FrameReader, write_bytes
from modeltest.errors import ModeltestError, one_line

_START_TIMEOUT_S = 120.0
_LATE_READ_S = 5.0
_EXIT_S = 1.0

# With the parent's search path; `-m` would put the current folder first.
_CODE = """\
import json, sys
path, memory_bytes, timeout_s = json.loads(sys.argv[1])
sys.path[:] = path
from modeltest.audio.decode_child import main
main(memory_bytes, timeout_s)
"""

# Foreign bytes that took a decoder over shall find no secret in its environment.
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "NUMBA_CACHE_DIR")
# Each thread of a mathematics library reserves address space, which is limited here.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class ChildProcess:
    """A child that answers requests one after the other.

    Attributes:
        num_pending: Requests that were sent and not yet answered.
    """

    def __init__(self, memory_bytes: int, timeout_s: float) -> None:
        """Starts it and returns at once; `send` waits until it is ready."""
        self._timeout_s = timeout_s
        self._late_read_s = min(timeout_s, _LATE_READ_S)
        self._deadline_s = 0.0
        self._ready = False
        self.num_pending = 0
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CODE, json.dumps([sys.path, memory_bytes, timeout_s])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
            | _ONE_THREAD,
            start_new_session=True,  # Ctrl-C in the terminal is the parent's business
        )
        os.set_blocking(_descriptor(self._process.stdin), False)
        self._answers = FrameReader(_descriptor(self._process.stdout))

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send(self, request: bytes, payload: bytes) -> None:
        """Sends one encoded request; its time runs from here, or from the answer to the one before.

        Behind a request that is not yet answered only short ones may be sent, which the pipe
        holds: the child reads them when it has got rid of its answer.

        Raises:
            ModeltestError: The child does not come up.
            TimeoutError: The child does not take the request.
            OSError: The child is gone.
        """
        if not self._ready:
            self._await_ready()
        deadline_s = time.monotonic() + self._timeout_s
        if not self.num_pending:
            self._deadline_s = deadline_s
        self.num_pending += 1
        write_bytes(_descriptor(self._process.stdin), request, payload, deadline_s)

    def receive(self, max_payload_bytes: int) -> Frame:
        """Waits for the answer to the oldest request without one.

        Raises:
            TimeoutError: It takes too long.
            BrokenFrameError: The child ended, or answered nonsense.
        """
        # An answer that has been waiting for a busy caller may still take its time to pass.
        deadline_s = max(self._deadline_s, time.monotonic() + self._late_read_s)
        _descriptor(self._process.stdout)  # closed, its number may be another file's
        frame = self._answers.read(max_payload_bytes, deadline_s)
        if frame is None:
            raise BrokenFrameError("it ended")
        self.num_pending -= 1
        self._deadline_s = time.monotonic() + self._timeout_s
        return frame

    def kill(self) -> None:
        """Kills the child, whoever waits for its answer; `end` is still to be called."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def end(self, patience_s: float = 0.0) -> int | None:
        """Ends the child.

        Args:
            patience_s: How long it may take to end by itself, seconds.

        Returns:
            Its exit status (minus the signal), or None where it had to be killed.
        """
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe and pipe.close()
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None

    def how_it_ended(self) -> str:
        """Ends a child that broke off; names the signal or the exit status, if one tells."""
        status = self.end(_EXIT_S)
        if not status:
            return ""
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def _await_ready(self) -> None:
        try:
            frame = self._answers.read(0, time.monotonic() + _START_TIMEOUT_S)
            reason = str(frame.header.get("failure", "")) if frame else self.how_it_ended()
            self._ready = frame is not None and not reason
        except (TimeoutError, BrokenFrameError) as error:
            reason = str(error) or f"not ready after {_START_TIMEOUT_S:g} s"
        if not self._ready:
            self.end()
            raise ModeltestError(f"the audio decoder's process does not start: {one_line(reason)}")


def _descriptor(pipe: IO[bytes] | None) -> int:
    if pipe is None or pipe.closed:
        raise BrokenFrameError("it ended")
    return pipe.fileno()
