"""Decodes a request's clips behind the same front door as an evaluation's."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from modeltest.audio.workers import DecodeWorkers, workers_for_this_machine
from modeltest.errors import AudioError
from modeltest.records import Audio, AudioSource
from modeltest.service.content import ClipReference
from modeltest.service.limits import Ticket
from modeltest.service.media import Allowance, audio_source
from modeltest.service.refusals import BAD_REQUEST, Refusal

_NUM_FETCHERS = 4


class ClipReader:
    """Finds and decodes clips in threads of its own; use as a context manager."""

    def __init__(self, allowance: Allowance, sampling_rate_hz: int, max_audio_s: float) -> None:
        """Starts nothing yet.

        Args:
            allowance: Where clips may come from.
            sampling_rate_hz: The model's.
            max_audio_s: Longest clip that the model hears whole, seconds.
        """
        self._allowance = allowance
        self._sampling_rate_hz = sampling_rate_hz
        self._max_audio_s = max_audio_s
        num = workers_for_this_machine()
        self._all = [DecodeWorkers() for _ in range(num)]
        self._idle: queue.SimpleQueue[DecodeWorkers] = queue.SimpleQueue()
        self._decoders = ThreadPoolExecutor(num, "decode")
        # A slow host shall not keep the clips of others from being decoded.
        self._fetchers = ThreadPoolExecutor(_NUM_FETCHERS, "fetch")
        self._open = ExitStack()

    def __enter__(self) -> ClipReader:
        """Starts the decoders' processes."""
        for workers in self._all:
            self._idle.put(self._open.enter_context(workers))
        return self

    def __exit__(self, *_: object) -> None:
        """Ends them, whatever they are at."""
        for workers in self._all:
            workers.stop()
        for pool in (self._fetchers, self._decoders):
            pool.shutdown(cancel_futures=True)
        self._open.close()

    async def read(self, clips: Sequence[ClipReference], ticket: Ticket) -> tuple[Audio, ...]:
        """Decodes clips, one after the other.

        Args:
            clips: From one request.
            ticket: Holds the decoded clips' memory.

        Raises:
            Refusal: 400, a clip is not allowed, damaged or too long; 503, no memory is left.
        """
        loop = asyncio.get_running_loop()
        heard = []
        for clip in clips:
            source = await loop.run_in_executor(self._fetchers, audio_source, clip, self._allowance)
            audio = await loop.run_in_executor(self._decoders, self._decode, source)
            if audio.duration_s > self._max_audio_s:
                raise Refusal(
                    BAD_REQUEST,
                    f"{clip.name}: is {audio.duration_s:.1f} s long; this model hears "
                    f"{self._max_audio_s:g} s at most",
                )
            ticket.hold(audio.waveform.nbytes)
            heard.append(audio)
        return tuple(heard)

    def _decode(self, source: AudioSource) -> Audio:
        workers = self._idle.get()
        try:
            return workers.decode(source, self._sampling_rate_hz)
        except AudioError as error:
            raise Refusal(BAD_REQUEST, str(error)) from error
        finally:
            self._idle.put(workers)
