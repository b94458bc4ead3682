"""Decoding in child processes: a decoder that crashes, hangs or swells costs one clip.

Importing this module loads neither numpy nor soundfile.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from modeltest.audio.child_process import ChildProcess
from modeltest.audio.decode import fetch
from modeltest.audio.frames import BrokenFrameError, Frame
from modeltest.audio.limits import MAX_DURATION_S
from modeltest.audio.replies import parse_audio, parse_facts
from modeltest.errors import AudioError, ModeltestError
from modeltest.records import Audio, AudioFacts, AudioSource

_Result = TypeVar("_Result")

# Ten minutes of stereo take four; nobody shall wait more than ten for a clip that hangs.
LONGEST_DECODE_S = 9.0

MAX_WORKERS = 4
# A child that finds its next clip waiting need not be woken for it.
_MAX_PENDING = 2
_SHORT_REQUEST = 1000


def workers_for_this_machine() -> int:
    """How many clips are worth decoding at a time beside the model: half the cores, 1 to 4."""
    return max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // 2))


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked about a clip, and how the answer is read."""

    source: AudioSource
    sampling_rate_hz: int | None
    max_bytes: int
    parse: Callable[[Frame, str], Any]

    @property
    def is_short(self) -> bool:
        """Whether the request passes through a pipe that nobody reads from."""
        path = self.source.path
        if path is None or self.source.read is not None:
            return False
        return len(str(path)) + len(self.source.name) < _SHORT_REQUEST


@dataclass(frozen=True, slots=True)
class _Pending:
    """A question that a child is working on."""

    question: _Question
    child: ChildProcess


class DecodeWorkers:
    """Child processes that inspect and decode clips as `modeltest.audio.decode` does.

    Use as a context manager, from one thread at a time; only `stop` may be called from any. A
    child answers in JSON and raw float32; its answers are checked like any foreign input.
    Ctrl-C does not reach the children; they end with this object, or with this process
    however that ends.
    """

    def __init__(
        self, num_workers: int = 1, timeout_s: float = LONGEST_DECODE_S, memory_bytes: int = 2 << 30
    ) -> None:
        """Starts nothing yet.

        Args:
            num_workers: Children that decode at the same time, at least 1.
            timeout_s: Longest time for one clip, seconds.
            memory_bytes: Limit of each child's address space.
        """
        if num_workers < 1:
            raise ValueError("num_workers must be at least 1")
        self._num_workers = num_workers
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._idle: list[ChildProcess] = []
        self._busy: list[ChildProcess] = []
        self._is_stopped = False

    def __enter__(self) -> DecodeWorkers:
        """Starts the children; they load their libraries while the caller goes on."""
        self._idle += [self._start() for _ in range(self._num_workers)]
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the children."""
        for children in (self._idle, self._busy):
            while children:
                children.pop().end()

    def stop(self) -> None:
        """Kills the children, so that a thread that waits for one gets an error at once."""
        self._is_stopped = True
        for child in (*self._idle, *self._busy):
            child.kill()

    def inspect(self, source: AudioSource) -> AudioFacts:
        """As `modeltest.audio.decode.inspect`.

        Raises:
            AudioError: As there; or the decoder crashed, took too long or too much memory.
            ModeltestError: No child process comes up.
        """
        [facts] = self.inspect_all([source])
        return _or_raise(facts)

    def decode(self, source: AudioSource, sampling_rate_hz: int) -> Audio:
        """As `modeltest.audio.decode.decode`; raises as `inspect`."""
        [audio] = self.decode_all([source], sampling_rate_hz)
        return _or_raise(audio)

    def inspect_all(self, sources: Iterable[AudioSource]) -> Iterator[AudioFacts | AudioError]:
        """Inspects ahead of the caller; yields and raises as `decode_all`."""
        return self._answers(_Question(source, None, 0, parse_facts) for source in sources)

    def decode_all(
        self, sources: Iterable[AudioSource], sampling_rate_hz: int
    ) -> Iterator[Audio | AudioError]:
        """Decodes ahead of the caller: some clips for each worker.

        Args:
            sources: Clips; they are fetched as workers become free.
            sampling_rate_hz: Rate of the waveforms, Hz.

        Yields:
            For each source, in order, its audio, or the error in its place.

        Raises:
            ModeltestError: No child process comes up, or `stop` was called.
        """
        max_bytes = 4 * (MAX_DURATION_S + 1) * sampling_rate_hz

        def parse(frame: Frame, name: str) -> Audio:
            return parse_audio(frame, name, sampling_rate_hz)

        return self._answers(_Question(s, sampling_rate_hz, max_bytes, parse) for s in sources)

    def _answers(self, questions: Iterable[_Question]) -> Iterator[Any]:
        waiting: deque[_Pending | AudioError] = deque()
        try:
            for question in questions:
                while not self._has_room(question):
                    yield self._settled(waiting)
                waiting.append(self._ask(question))
            while waiting:
                yield self._settled(waiting)
        finally:
            for left in waiting:
                if isinstance(left, _Pending):
                    self._end(left.child)

    def _has_room(self, question: _Question) -> bool:
        if len(self._busy) < self._num_workers:
            return True
        return question.is_short and self._least_busy().num_pending < _MAX_PENDING

    def _ask(self, question: _Question) -> _Pending | AudioError:
        source = question.source
        request = {
            "name": source.name, "path": None, "sampling_rate_hz": question.sampling_rate_hz,
        }  # fmt: skip
        payload = b""
        try:
            if source.read is None and source.path is not None:
                request["path"] = os.path.abspath(source.path)
            else:
                payload = fetch(source).data
            pending = _Pending(question, self._take())
            self._send(pending, request, payload)
        except AudioError as error:
            return error
        return pending

    def _send(self, pending: _Pending, request: dict[str, Any], payload: bytes) -> None:
        child = pending.child
        if not child.num_pending:
            self._guarded(pending, lambda: child.send(request, payload))
            return
        # A child that broke off did so in the clip before: its turn to be settled comes first.
        with suppress(BrokenFrameError, OSError):
            child.send(request, payload)

    def _settled(self, waiting: deque[_Pending | AudioError]) -> Any:
        """The answer to the oldest question, or the error in its place."""
        oldest = waiting.popleft()
        if isinstance(oldest, AudioError):
            return oldest
        try:
            return self._receive(oldest)
        except AudioError as error:
            # What else that child was to answer is asked again.
            for place, other in enumerate(waiting):
                if isinstance(other, _Pending) and other.child is oldest.child:
                    waiting[place] = self._ask(other.question)
            return error
        except BaseException:
            waiting.appendleft(oldest)  # its child is ended with the others
            raise

    def _receive(self, pending: _Pending) -> Any:
        question, child = pending.question, pending.child

        def step() -> Any:
            frame = child.receive(question.max_bytes)
            try:
                return question.parse(frame, question.source.name)
            except AudioError as refused:  # an answer like any other: the child is well
                return refused

        answer = self._guarded(pending, step)
        if not child.num_pending:
            self._busy.remove(child)
            self._idle.append(child)
        return answer

    def _take(self) -> ChildProcess:
        if len(self._busy) == self._num_workers:
            return self._least_busy()
        child = self._idle.pop() if self._idle else self._start()
        if not child.alive:
            child.end()  # killed while it had nothing to do: no clip's fault
            child = self._start()
        self._busy.append(child)
        return child

    def _least_busy(self) -> ChildProcess:
        return min(self._busy, key=lambda child: child.num_pending)

    def _start(self) -> ChildProcess:
        if self._is_stopped:
            raise ModeltestError("decoding was stopped")
        return ChildProcess(self._memory_bytes, self._timeout_s)

    def _end(self, child: ChildProcess) -> None:
        child.end()
        if child in self._busy:
            self._busy.remove(child)

    def _guarded(self, pending: _Pending, step: Callable[[], _Result]) -> _Result:
        """Takes a step with a child that is ended should the step fail."""
        child = pending.child
        try:
            return step()
        except TimeoutError:
            problem = f"decoding it took longer than {self._timeout_s:g} s"
        except (BrokenFrameError, OSError) as error:
            how = child.how_it_ended()
            problem = f"its decoder crashed ({how or error})"
        except BaseException:
            self._end(child)  # an answer that nobody waits for would be the next clip's
            raise
        self._end(child)
        if self._is_stopped:
            raise ModeltestError("decoding was stopped")
        if len(self._idle) + len(self._busy) < self._num_workers:
            self._idle.append(self._start())
        raise AudioError(f"{pending.question.source.name}: {problem}")


def _or_raise(result: _Result | AudioError) -> _Result:
    if isinstance(result, AudioError):
        raise result
    return result
