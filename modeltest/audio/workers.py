"""Decoding in child processes: a decoder that crashes, hangs or swells costs one clip.

Importing this module loads neither numpy nor soundfile.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from modeltest.audio.child_process import ChildProcess
from modeltest.audio.decode import fetch
from modeltest.audio.frames import BrokenFrameError, Frame
from modeltest.audio.limits import MAX_DURATION_S
from modeltest.audio.replies import parse_audio, parse_facts
from modeltest.errors import AudioError
from modeltest.records import Audio, AudioFacts, AudioSource

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A clip that a child is working on."""

    name: str
    child: ChildProcess


class DecodeWorkers:
    """Child processes that inspect and decode clips as `modeltest.audio.decode` does.

    Use as a context manager, from one thread. A child answers in JSON and raw float32; its
    answers are checked like any foreign input. Ctrl-C does not reach the children; they end
    with this object, or with this process however that ends.
    """

    def __init__(
        self, num_workers: int = 1, timeout_s: float = 20.0, memory_bytes: int = 2 << 30
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

    def __enter__(self) -> DecodeWorkers:
        """Starts the children; they load their libraries while the caller goes on."""
        self._idle += [self._start() for _ in range(self._num_workers)]
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the children."""
        while self._idle:
            self._idle.pop().end()

    def inspect(self, source: AudioSource) -> AudioFacts:
        """As `modeltest.audio.decode.inspect`.

        Raises:
            AudioError: As there; or the decoder crashed, took too long or too much memory.
            ModeltestError: No child process comes up.
        """
        return self._receive(self._send(source, None), 0, parse_facts)

    def decode(self, source: AudioSource, sampling_rate_hz: int) -> Audio:
        """As `modeltest.audio.decode.decode`; raises as `inspect`."""
        return self._decoded(self._send(source, sampling_rate_hz), sampling_rate_hz)

    def decode_all(
        self, sources: Iterable[AudioSource], sampling_rate_hz: int
    ) -> Iterator[Audio | AudioError]:
        """Decodes ahead of the caller: as many clips at a time as there are workers.

        Args:
            sources: Clips; they are fetched as workers become free.
            sampling_rate_hz: Rate of the waveforms, Hz.

        Yields:
            For each source, in order, its audio, or the error in its place.

        Raises:
            ModeltestError: No child process comes up.
        """
        waiting: deque[_Pending | AudioError] = deque()
        try:
            for source in sources:
                result = None
                if len(waiting) == self._num_workers:
                    result = self._settled(waiting.popleft(), sampling_rate_hz)
                try:
                    waiting.append(self._send(source, sampling_rate_hz))
                except AudioError as error:
                    waiting.append(error)
                if result is not None:
                    yield result
            while waiting:
                yield self._settled(waiting.popleft(), sampling_rate_hz)
        finally:
            for left in waiting:
                if isinstance(left, _Pending):
                    left.child.end()

    def _start(self) -> ChildProcess:
        return ChildProcess(self._memory_bytes, self._timeout_s)

    def _settled(self, item: _Pending | AudioError, sampling_rate_hz: int) -> Audio | AudioError:
        if isinstance(item, AudioError):
            return item
        try:
            return self._decoded(item, sampling_rate_hz)
        except AudioError as error:
            return error

    def _decoded(self, pending: _Pending, sampling_rate_hz: int) -> Audio:
        max_bytes = 4 * (MAX_DURATION_S + 1) * sampling_rate_hz
        return self._receive(
            pending, max_bytes, lambda frame, name: parse_audio(frame, name, sampling_rate_hz)
        )

    def _send(self, source: AudioSource, sampling_rate_hz: int | None) -> _Pending:
        request = {"name": source.name, "path": None, "sampling_rate_hz": sampling_rate_hz}
        if source.read is None and source.path is not None:
            request["path"] = os.path.abspath(source.path)
            payload = b""
        else:
            payload = fetch(source).data
        pending = _Pending(source.name, self._take())
        self._guarded(pending, lambda: pending.child.send(request, payload))
        return pending

    def _take(self) -> ChildProcess:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            child.end()  # killed while it had nothing to do: no clip's fault
        return self._start()

    def _receive(
        self, pending: _Pending, max_bytes: int, parse: Callable[[Frame, str], _Result]
    ) -> _Result:
        def step() -> _Result | AudioError:
            frame = pending.child.receive(max_bytes)
            try:
                return parse(frame, pending.name)
            except AudioError as refused:  # an answer like any other: the child is well
                return refused

        result = self._guarded(pending, step)
        if len(self._idle) < self._num_workers:
            self._idle.append(pending.child)
        else:
            pending.child.end()
        if isinstance(result, AudioError):
            raise result
        return result

    def _guarded(self, pending: _Pending, step: Callable[[], _Result]) -> _Result:
        """Takes a step with a child that is ended and replaced should the step fail."""
        try:
            return step()
        except TimeoutError:
            pending.child.end()
            problem = f"decoding it took longer than {self._timeout_s:g} s"
        except (BrokenFrameError, OSError) as error:
            how = pending.child.how_it_ended()
            problem = f"its decoder crashed ({how or error})"
        except BaseException:
            pending.child.end()  # an answer that nobody waits for would be the next clip's
            raise
        if len(self._idle) < self._num_workers:
            self._idle.append(self._start())
        raise AudioError(f"{pending.name}: {problem}")
