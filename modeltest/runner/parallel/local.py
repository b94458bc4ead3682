"""Workers in processes of this host, one per device."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping

from modeltest.audio.frames import BrokenFrameError
from modeltest.runner.child import Child
from modeltest.runner.parallel.crew import Crew, Ended, Frames, Message

_SEND_S = 30.0
_EXIT_S = 2.0


class LocalCrew(Crew):
    """Processes that write segments of their own into the run's folder."""

    def __init__(
        self, size: int, greeting: Callable[[int], Frames], environment: Mapping[str, str]
    ) -> None:
        """Starts nothing yet.

        Args:
            size: Number of workers.
            greeting: The first frames for each.
            environment: Their variables beside those of this process.
        """
        self._size = size
        self._greeting = greeting
        self._environment = environment
        self._children: dict[int, Child] = {}
        self._reasons: dict[int, str] = {}

    @property
    def size(self) -> int:
        """How many there are."""
        return self._size

    def start(self, worker: int) -> None:
        """Starts a process."""
        self._children[worker] = Child("parallel.worker_child", self._environment)
        self.send(worker, self._greeting(worker))

    def send(self, worker: int, frames: Frames) -> None:
        """Sends frames; a process that does not take them is killed."""
        child = self._children[worker]
        deadline_s = time.monotonic() + _SEND_S
        try:
            for header, payload in frames:
                child.send(header, payload, deadline_s)
        except TimeoutError:
            self.kill(worker, f"it took nothing for {_SEND_S:g} s")
        except OSError:
            pass  # it ended, which `wait` tells

    def wait(self, timeout_s: float) -> list[Message | Ended]:
        """What happened, in the order of the processes' numbers."""
        poll = select.poll()
        numbers = {child.fileno(): worker for worker, child in self._children.items()}
        for descriptor in numbers:
            poll.register(descriptor, select.POLLIN)
        events: list[Message | Ended] = []
        for descriptor, _ in poll.poll(timeout_s * 1000):
            events += self._read(numbers[descriptor])
        overdue = [worker for worker, child in self._children.items() if child.is_overdue]
        return [*events, *map(self._end, overdue)]

    def kill(self, worker: int, reason: str) -> None:
        """Kills a process; one that does not end by that is left behind some seconds later."""
        if child := self._children.get(worker):
            self._reasons[worker] = reason
            child.kill()

    def close(self) -> None:
        """Ends all processes: what they are doing is dropped."""
        for child in self._children.values():
            child.kill()
        for child in self._children.values():
            child.end()
        self._children.clear()

    def _read(self, worker: int) -> list[Message | Ended]:
        answers = self._children[worker].answers
        events: list[Message | Ended] = []
        try:
            while frame := answers.read():
                events.append(Message(worker, frame.header, bytes(frame.payload)))
                if not answers.has_more:
                    return events
        except BrokenFrameError:
            pass  # it ended in the middle of one
        events.append(self._end(worker))
        return events

    def _end(self, worker: int) -> Ended:
        child = self._children.pop(worker)
        # What closed its end of the pipe or was killed has nothing more to do, and the others
        # are not heard meanwhile.
        how = child.end(_EXIT_S)
        reason = self._reasons.pop(worker, "")
        if reason and not child.has_ended:
            return Ended(worker, f"{reason}; {how}")
        return Ended(worker, reason or how)
