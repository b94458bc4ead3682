"""One thread that asks the model: requests that wait at the same time go into one batch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from modeltest.errors import DeviceError, ModeltestError, one_line
from modeltest.protocols import Backend, Device
from modeltest.records import Request, Response
from modeltest.runner.recovery import generate_surviving
from modeltest.service.refusals import FAILED, INVALID, LOST, Refusal

Event = str | Response | Refusal


class Watcher(Protocol):
    """Told what becomes of batches, from the model's thread."""

    def batch(self, size: int) -> None:
        """So many requests were asked at once."""
        ...

    def split(self, size: int, reason: str) -> None:
        """A batch was halved."""
        ...


@dataclass(frozen=True, slots=True)
class Batching:
    """Which requests the model is asked, and how many at once.

    Attributes:
        size: Most requests at a time.
        wait_s: How long the first request waits for others, seconds.
        max_input_tokens: Longest prompt, clips included.
    """

    size: int
    wait_s: float
    max_input_tokens: int


class Pending:
    """A request that waits for its reply.

    Attributes:
        events: Pieces of text where they are wanted, then the response or a refusal; for the
            event loop's thread.
        is_dropped: Nobody waits for it any more.
    """

    def __init__(self, request: Request, wants_text: bool) -> None:
        """Made in the event loop's thread."""
        self.request = request
        self.wants_text = wants_text
        self.arrived_s = time.monotonic()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.is_dropped = False
        self._sent = ""
        self._loop = asyncio.get_running_loop()

    @property
    def has_begun(self) -> bool:
        """Whether some of the reply is with the client."""
        return bool(self._sent)

    def tell(self, piece: str) -> None:
        """A piece of the reply; from the model's thread."""
        if self.wants_text and piece:
            self._sent += piece
            self._put(piece)

    def finish(self, response: Response) -> None:
        """The reply; from the model's thread."""
        if response.error:
            self.refuse(Refusal(FAILED, f"the model gave no answer: {one_line(response.error)}"))
            return
        if self.wants_text:
            if not response.text.startswith(self._sent):
                self.refuse(Refusal(FAILED, "the reply changed when it had to be asked again"))
                return
            self.tell(response.text[len(self._sent) :])
        self._put(response)

    def refuse(self, refusal: Refusal) -> None:
        """No reply comes; from any thread."""
        self._put(refusal)

    def _put(self, event: Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)


class Batcher:
    """Asks a loaded backend in a thread of its own.

    Attributes:
        failure: What ended the thread before `stop`: a lost device, or a bug.
    """

    def __init__(
        self, backend: Backend, device: Device, batching: Batching, watcher: Watcher
    ) -> None:
        """Starts nothing yet.

        Args:
            backend: Loaded; used by this thread alone from `start` to `stop`.
            device: Where it computes.
            batching: What goes into a batch.
            watcher: Told of batches.
        """
        self._backend = backend
        self._device = device
        self._batching = batching
        self._watcher = watcher
        self._waiting: deque[Pending] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._on_failure: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self.failure: BaseException | None = None

    @property
    def num_waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def start(self, on_failure: Callable[[], None]) -> None:
        """Starts the thread; `on_failure` is told, in it, that it ended too early."""
        self._on_failure = on_failure
        self._thread.start()

    def submit(self, pending: Pending) -> None:
        """Puts a request into the queue."""
        with self._changed:
            if self.failure is None:
                self._waiting.append(pending)
                self._changed.notify()
                return
        pending.refuse(_lost(self.failure))

    def drop(self, pending: Pending) -> None:
        """Takes a request out of the queue, or lets its reply go where it is being asked."""
        pending.is_dropped = True
        with self._changed, suppress(ValueError):
            self._waiting.remove(pending)

    def stop(self, patience_s: float) -> bool:
        """Ends the thread behind its batch; returns whether it ended in time."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        batch: list[Pending] = []
        try:
            while not self._is_stopping:
                batch = self._next_batch()
                self._answer(self._askable(batch))
        except BaseException as failure:  # told to all who wait, and raised by the main thread
            with self._changed:
                self.failure = failure
                left = [*batch, *self._waiting]
                self._waiting.clear()
            for pending in left:
                pending.refuse(_lost(failure))
            self._on_failure()

    def _next_batch(self) -> list[Pending]:
        """The first request and those that are asked alike; waits for them a little."""
        with self._changed:
            while not self._waiting and not self._is_stopping:
                self._changed.wait()
            if not self._waiting:
                return []
            deadline_s = self._waiting[0].arrived_s + self._batching.wait_s
            while (batch := self._alike()) and len(batch) < self._batching.size:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or self._is_stopping:
                    break
                self._changed.wait(left_s)
            for pending in batch:
                self._waiting.remove(pending)
            return batch

    def _alike(self) -> list[Pending]:
        if not self._waiting:
            return []
        generation = self._waiting[0].request.generation
        alike = [p for p in self._waiting if p.request.generation == generation]
        return alike[: self._batching.size]

    def _askable(self, batch: Sequence[Pending]) -> list[Pending]:
        """Those whose prompt the model takes; a prompt that it does not take costs only itself."""
        askable = []
        for pending in batch:
            request = pending.request
            try:
                self._backend.render(request.prompt, len(request.audio))
                num_tokens = self._backend.num_input_tokens(request)
            except ModeltestError as error:
                pending.refuse(Refusal(INVALID, one_line(str(error))))
                continue
            if num_tokens > self._batching.max_input_tokens:
                pending.refuse(
                    Refusal(
                        INVALID,
                        f"the prompt has {num_tokens} tokens, clips included; at most "
                        f"{self._batching.max_input_tokens} (--max-input-length)",
                    )
                )
                continue
            askable.append(pending)
        return askable

    def _answer(self, batch: Sequence[Pending]) -> None:
        if not batch:
            return
        self._watcher.batch(len(batch))

        def on_text(place: int, piece: str) -> None:
            batch[place].tell(piece)

        try:
            responses = generate_surviving(
                self._backend,
                self._device,
                [pending.request for pending in batch],
                self._watcher.split,
                on_text=on_text if any(pending.wants_text for pending in batch) else None,
            )
        except DeviceError:
            raise
        except ModeltestError as error:
            self._answer_alone(batch, error)
            return
        for pending, response in zip(batch, responses, strict=True):
            pending.finish(response)

    def _answer_alone(self, batch: Sequence[Pending], error: ModeltestError) -> None:
        """Asks each request by itself where all of them met with one that cannot be asked."""
        if len(batch) == 1:
            batch[0].refuse(Refusal(FAILED, f"the model gave no answer: {one_line(str(error))}"))
            return
        for pending in batch:
            if pending.has_begun:
                pending.refuse(Refusal(FAILED, f"the reply broke off: {one_line(str(error))}"))
            elif not pending.is_dropped:
                self._answer([pending])


def _lost(failure: BaseException | None) -> Refusal:
    what = one_line(str(failure)) if isinstance(failure, DeviceError) else "a bug in modeltest"
    return Refusal(LOST, f"the server ends: {what}")
