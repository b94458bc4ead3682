"""Renders a checkpoint's chat template in a child process with a time and a memory limit.

transformers renders in jinja2's sandbox, which keeps a template from reaching Python but
not from looping for ever or from filling the memory. The child is a fork, so that it has
the loaded processor; it touches no device and leaves by `os._exit`.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from modeltest.errors import ModelError, one_line

MAX_SECONDS = 10.0
MAX_EXTRA_BYTES = 512 * 1024 * 1024
MAX_TEXT_BYTES = 1 << 20
_DONE, _FAILED = b"+", b"-"


def render_bounded(render: Callable[[], str]) -> str:
    """Calls a function in a child process.

    Args:
        render: Renders the template; after `MAX_SECONDS` the child is killed.

    Raises:
        ModelError: It failed, hung, or made too much; one line.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(render, writer)
    os.close(writer)
    try:
        reply = _read(reader, time.monotonic() + MAX_SECONDS)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    text = reply[1:].decode("utf-8", "replace")
    if reply[:1] == _DONE:
        return text
    what = one_line(text)[:200] if reply[:1] == _FAILED else "it ended without a text"
    raise ModelError(f"the checkpoint's chat template cannot be rendered: {what}")


def _child(render: Callable[[], str], writer: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * os.sysconf("SC_PAGESIZE") + MAX_EXTRA_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        reply = _DONE + render().encode("utf-8", "surrogatepass")
    except BaseException as error:  # the sandbox's refusals, jinja2's errors, MemoryError
        reply = _FAILED + f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")
    try:
        while reply:
            reply = reply[os.write(writer, reply) :]
    finally:
        os._exit(0)


def _read(reader: int, deadline_s: float) -> bytes:
    reply = b""
    while select.select([reader], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
        chunk = os.read(reader, 65536)
        if not chunk:
            return reply
        reply += chunk
        if len(reply) > MAX_TEXT_BYTES:
            return _FAILED + f"it makes more than {MAX_TEXT_BYTES >> 20} MiB of text".encode()
    return _FAILED + b"it does not end"
