"""What Ctrl-C and `kill` do: the first ends the work in order, the second at once."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TypeVar

_Result = TypeVar("_Result")

GRACE_S = 8.0
_AGAIN_S = 0.005
# How long after a signal a main thread that has not noticed is woken.
_NUDGES_S = (0.1, 0.3, 1.0)
_NUDGE = signal.SIGURG
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SETTLED = 0
_CLOSED = -1
_last_words: list[str] = []
_seen: list[int] = []
_orderly: list[tuple[Callable[[], None], float]] = []
_wakeup_fds: list[int] = []


class Interrupted(BaseException):
    """A signal asked the command to end. Not an Exception: no sample boundary may catch it.

    Attributes:
        number: The signal's.
        exit_code: 128 plus the signal's number, as shells report it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Turns the first SIGINT or SIGTERM into `Interrupted`, wherever the work is.

    The log is whole after every record, so the batch that runs is simply dropped. A second
    signal, or work that does not end within `GRACE_S`, ends the process at once. Python's
    handlers run between instructions of the main thread only, which may be deep in a
    library for minutes; so a thread of its own counts the signals and watches the time.
    """
    _seen.clear()

    def raise_again(_number: int, _frame: FrameType | None) -> None:
        if _seen:
            raise Interrupted(_seen[0])

    def unraisable(failure: sys.UnraisableHookArgs) -> None:
        if not issubclass(failure.exc_type, Interrupted):
            hook_before(failure)
            return
        # It met a destructor or an import's callback, where Python drops what is raised.
        signal.signal(signal.SIGALRM, raise_again)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)

    hook_before, sys.unraisablehook = sys.unraisablehook, unraisable
    arrivals, arriving = os.pipe()
    for end in (arrivals, arriving):
        os.set_blocking(end, False)
    threading.Thread(target=_watch, args=(arrivals,), name="signals", daemon=True).start()
    wakeup_before = signal.set_wakeup_fd(arriving, warn_on_full_buffer=False)
    _wakeup_fds.append(arriving)
    before = {number: signal.signal(number, _handle) for number in _SIGNALS}
    before[_NUDGE] = signal.signal(_NUDGE, lambda _number, _frame: None)
    try:
        with signals_first():
            yield
    finally:
        _wakeup_fds.remove(arriving)
        if not _seen:  # after the first one, the second must still end the process at once
            for number, handler in before.items():
                signal.signal(number, handler)
            sys.unraisablehook = hook_before
            signal.set_wakeup_fd(wakeup_before)
            os.close(arriving)


def _handle(number: int, _frame: FrameType | None) -> None:
    if not _seen:
        _seen.append(number)
        if not _orderly:
            raise Interrupted(number)
        stop, _ = _orderly[-1]
        stop()


@contextmanager
def signals_first() -> Iterator[None]:
    """Lets a signal count, and not the error that it led to.

    Compiled libraries make errors of their own of what Python raises in their callbacks.
    """
    try:
        yield
    except Exception as error:  # each library has its own; it passes on unless a signal came
        if _seen:
            raise Interrupted(_seen[0]) from error
        raise


def unless_stopped(work: Callable[[], _Result]) -> _Result | None:
    """Does something that a SIGINT ends alone, inside `interruptible`.

    Afterwards the next signal is a first one again; a second one before that ends the process
    at once, as everywhere.

    Returns:
        What the work returned, or None if it was stopped.
    """
    try:
        with signals_first():
            result = work()
        if not _seen:
            return result
        raise Interrupted(_seen[0])  # what it raised was taken for a failure of the work
    except Interrupted as interruption:
        if interruption.number != signal.SIGINT:
            raise
    _seen.clear()
    for descriptor in _wakeup_fds:
        os.write(descriptor, bytes([_SETTLED]))
    return None


@contextmanager
def ended_by(stop: Callable[[], None], grace_s: float) -> Iterator[None]:
    """The first signal asks the work to end, which then raises `Interrupted` at its end.

    Args:
        stop: Called in the main thread, between two instructions; must not wait.
        grace_s: How long the work may take to end, seconds.
    """
    _orderly.append((stop, grace_s))
    try:
        yield
    finally:
        _orderly.pop()
    if _seen:
        raise Interrupted(_seen[0])


def end_at_once_if_asked() -> None:
    """Ends the process if a signal has come: for work that cannot be ended in order.

    Python is not taken down in order, either: a library's thread that still runs would crash it,
    and the exit code would be the crash's.
    """
    if _seen:
        _end_at_once(_seen[0])


@contextmanager
def last_words(text: str) -> Iterator[None]:
    """What is said should a signal end the process at once in the meantime."""
    _last_words.append(text)
    try:
        yield
    finally:
        _last_words.remove(text)


def _watch(arrivals: int) -> None:
    """The thread: reads the signals' numbers, which the kernel's side writes into a pipe."""
    while (first := _next(arrivals, None)) is not None and first != _CLOSED:
        second = _second(arrivals, time.monotonic() + (_orderly[-1][1] if _orderly else GRACE_S))
        if second == _CLOSED:
            break
        if second != _SETTLED:
            _end_at_once(first if second is None else second)
    os.close(arrivals)


def _second(arrivals: int, end_s: float) -> int | None:
    """What comes after a first signal until a time; None when nothing does.

    A signal that meets the main thread right before it waits, at a prompt for example, does not
    end that waiting, and Python's handler would run only after it. Another signal ends it.
    """
    for nudge_s in _NUDGES_S:
        number = _next(arrivals, nudge_s)
        if number is not None:
            return number
        if not _seen:
            signal.pthread_kill(threading.main_thread().ident or 0, _NUDGE)
    return _next(arrivals, max(0.0, end_s - time.monotonic()))


def _next(arrivals: int, timeout_s: float | None) -> int | None:
    """The next signal's number, None when the time is over, `_CLOSED` when none can come."""
    while select.select([arrivals], [], [], timeout_s)[0]:
        numbers = os.read(arrivals, 1)
        if not numbers:
            return _CLOSED
        if numbers[0] in (*_SIGNALS, _SETTLED):  # a library's own signals come here as well
            return numbers[0]
    return None


def _end_at_once(number: int) -> NoReturn:
    lines = [f"modeltest: ended by {signal.Signals(number).name} at once", *_last_words[-1:]]
    with suppress(OSError):
        # The main thread may hold the lock of sys.stderr.
        os.write(2, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    os._exit(128 + number)
