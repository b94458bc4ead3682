"""The next batch is made ready while the device works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOKAHEAD = 1
"""Batches in memory beside the one in use."""


def prefetched(
    make: Callable[[Item], Result], items: Iterable[Item], stop: Callable[[], None]
) -> Generator[Result, None, None]:
    """Makes each result in a thread, ahead of the caller.

    Close the iterator when it is not read to its end: the thread has ended then.

    Args:
        make: Called with one item after the other, in one thread.
        items: Read in the caller's thread.
        stop: Called when the rest is not wanted; lets a call of `make` end soon.

    Yields:
        The results in the order of the items. What `make` raises is raised here.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > LOOKAHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:  # a signal and the caller's leaving, too
            for future in waiting:
                future.cancel()
            stop()
            raise
