"""An event loop in a thread of its own, for code that is not asynchronous itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_EXIT_S = 2.0


class LoopThread:
    """Runs coroutines while the caller waits; a signal ends the waiting and the coroutine."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: what a service leaves unanswered must not keep the process from its end.
        self._thread = threading.Thread(target=self._serve, name="service", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for a coroutine; returns what it returns and raises what it raises."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # a signal, too
            future.cancel()
            raise

    def close(self) -> None:
        """Cancels what still runs and ends the thread."""
        with suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_EXIT_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()
