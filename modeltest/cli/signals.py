"""What Ctrl-C and `kill` do: the first ends the work in order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 8.0


class Interrupted(BaseException):
    """A signal asked the command to end. Not an Exception: no sample boundary may catch it.

    Attributes:
        exit_code: 128 plus the signal's number, as shells report it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Turns the first SIGINT or SIGTERM into `Interrupted`, wherever the work is.

    The log is whole after every record, so the batch that runs is simply dropped. A second
    signal, or work that does not end within `GRACE_S`, ends the process at once.
    """
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        deadline = threading.Timer(GRACE_S, os._exit, (128 + number,))
        deadline.daemon = True
        deadline.start()
        raise Interrupted(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if not seen:  # after the first one, the second must still end the process at once
            for number, handler in before.items():
                signal.signal(number, handler)
