"""Decoding in child processes: a decoder that crashes, hangs or swells costs one clip.

Importing this module loads neither numpy nor soundfile.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from modeltest.audio.child_process import ChildProcess
from modeltest.audio.decode import fetch
from modeltest.audio.frames import BrokenFrameError, Frame, encode_frame
from modeltest.audio.limits import MAX_DURATION_S
from modeltest.audio.replies import parse_audio, parse_facts
from modeltest.errors import AudioError, ModeltestError
from modeltest.records import Audio, AudioFacts, AudioSource

_Result = TypeVar("_Result")

# Ten minutes of stereo take four; nobody shall wait more than ten for a clip that hangs.
LONGEST_DECODE_S = 9.0

MAX_WORKERS = 4
# A child has clips to go on with while its parent asks, scores and logs.
_MAX_PENDING = 8
# That many requests pass into a pipe that nobody reads from.
_SHORT_REQUEST_BYTES = 4096


def workers_for_this_machine() -> int:
    """How many clips are worth decoding at a time beside the model: half the cores, 1 to 4."""
    return max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // 2))


class _Kind(NamedTuple):
    """What is asked about clips, and how an answer is read."""

    sampling_rate_hz: int | None
    max_bytes: int
    parse: Callable[[Frame, str], Any]


class _Question(NamedTuple):
    """What is asked about one clip; without a request its bytes are to be fetched and sent."""

    source: AudioSource
    kind: _Kind
    request: bytes | None

    @property
    def is_short(self) -> bool:
        """Whether it may be sent to a child that is busy."""
        return self.request is not None and len(self.request) <= _SHORT_REQUEST_BYTES


class _Pending(NamedTuple):
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

    def inspect_all(
        self, sources: Iterable[AudioSource]
    ) -> Generator[AudioFacts | AudioError, None, None]:
        """Inspects ahead of the caller; yields and raises as `decode_all`."""
        return self._answers(sources, _Kind(None, 0, parse_facts))

    def decode_all(
        self, sources: Iterable[AudioSource], sampling_rate_hz: int
    ) -> Generator[Audio | AudioError, None, None]:
        """Decodes ahead of the caller: some clips for each worker.

        Close the iterator when it is not read to its end, before anything else is asked.

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

        return self._answers(sources, _Kind(sampling_rate_hz, max_bytes, parse))

    def _answers(self, sources: Iterable[AudioSource], kind: _Kind) -> Generator[Any, None, None]:
        waiting: deque[_Pending | AudioError] = deque()
        try:
            for source in sources:
                question = _question(source, kind)
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
        return self._least_busy().num_pending < _MAX_PENDING and question.is_short

    def _ask(self, question: _Question) -> _Pending | AudioError:
        request, payload = question.request, b""
        try:
            if request is None:
                payload = fetch(question.source).data
                request = _request(question.source.name, None, question.kind, len(payload))
            pending = _Pending(question, self._take())
            self._send(pending, request, payload)
        except AudioError as error:
            return error
        return pending

    def _send(self, pending: _Pending, request: bytes, payload: bytes) -> None:
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
        (source, kind, _), child = pending

        def step() -> Any:
            frame = child.receive(kind.max_bytes)
            try:
                return kind.parse(frame, source.name)
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
        if len(self._busy) == 1:
            return self._busy[0]
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


def _question(source: AudioSource, kind: _Kind) -> _Question:
    if source.read is not None or source.path is None:
        return _Question(source, kind, None)
    path = os.fspath(source.path)
    if not os.path.isabs(path):
        path = os.path.abspath(path)  # a child stays in the folder where it was started
    return _Question(source, kind, _request(source.name, path, kind, 0))


def _request(name: str, path: str | None, kind: _Kind, num_bytes: int) -> bytes:
    request = {"name": name, "path": path, "sampling_rate_hz": kind.sampling_rate_hz}
    return encode_frame(request, num_bytes)


def _or_raise(result: _Result | AudioError) -> _Result:
    if isinstance(result, AudioError):
        raise result
    return result
