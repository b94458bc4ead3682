"""The next batch is made ready while the device works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from typing import Final, TypeVar

Result = TypeVar("Result")

LOOKAHEAD = 1
"""Batches in memory beside the one in use."""


class _End(Enum):
    END = 0


_END: Final = _End.END


def prefetched(made: Iterator[Result], stop: Callable[[], None]) -> Generator[Result, None, None]:
    """Lets an iterator work in a thread, ahead of the caller.

    Close the iterator when it is not read to its end: the thread has ended then.

    Args:
        made: Makes the results; it runs in one thread.
        stop: Called when the rest is not wanted; lets a step of `made` end soon.

    Yields:
        What `made` yields. What it raises is raised here.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        waiting: deque[Future[Result | _End]] = deque()
        try:
            while True:
                while len(waiting) <= LOOKAHEAD:
                    waiting.append(pool.submit(next, made, _END))
                result = waiting.popleft().result()
                if result is _END:
                    return
                yield result
        except BaseException:  # a signal and the caller's leaving, too
            for future in waiting:
                future.cancel()
            stop()
            raise
