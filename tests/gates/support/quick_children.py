"""Decoder processes as forks: the same protocol, without an interpreter's start each.

A gate starts hundreds of short commands; new decoder processes would take most of its time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any


class ForkedDecoder:
    """What `ChildProcess` uses of `subprocess.Popen`, for its one command line."""

    def __init__(self, command: list[str], **_: Any) -> None:
        _, memory_bytes, timeout_s = json.loads(command[-1])
        requests, replies = os.pipe(), os.pipe()
        self.pid = os.fork()
        self.returncode: int | None = None
        if not self.pid:
            _serve(requests[0], replies[1], memory_bytes, timeout_s)
        os.close(requests[0])
        os.close(replies[1])
        self.stdin = os.fdopen(requests[1], "wb", buffering=0)
        self.stdout = os.fdopen(replies[0], "rb", buffering=0)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end."""
        end_s = time.monotonic() + (1e9 if timeout is None else timeout)
        while (status := self.poll()) is None:
            if time.monotonic() >= end_s:
                raise subprocess.TimeoutExpired("decoder", timeout or 0.0)
            time.sleep(0.0005)
        return status

    def kill(self) -> None:
        """Ends it at once."""
        os.kill(self.pid, signal.SIGKILL)


def install() -> None:
    """Lets this process's forks start their decoders so; does nothing where there are none."""
    try:
        from modeltest.audio import child_process, decode_child  # noqa: F401
    except ImportError:
        return
    import soundfile  # noqa: F401

    child_process.subprocess = _Forking


class _Forking:
    Popen = ForkedDecoder
    TimeoutExpired = subprocess.TimeoutExpired
    PIPE = subprocess.PIPE
    DEVNULL = subprocess.DEVNULL


def _serve(requests: int, replies: int, memory_bytes: int, timeout_s: float) -> None:
    from modeltest.audio.decode_child import main

    try:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        for source, target in ((requests, 0), (replies, 1), (quiet, 2)):
            os.dup2(source, target)
        os.closerange(3, 4096)
        main(memory_bytes, timeout_s)
    finally:
        os._exit(0)
