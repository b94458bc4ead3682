"""One timed round: batches through the backend, and what is written down of it afterwards.

Inside the timed region there is nothing but `backend.generate`: no log, no progress, no
garbage collection.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from modeltest.errors import DeviceError, ModeltestError
from modeltest.protocols import Backend, Device, Service
from modeltest.records import Request, Response
from modeltest.runlog.digests import digest
from modeltest.runner.load_watch import LoadWatch, suspended_s
from modeltest.runner.material import Batches
from modeltest.runner.recovery import OUT_OF_MEMORY
from modeltest.runner.sweep_plan import Block

Kind = Literal["copies", "distinct", "task", "requests"]


class PointError(Exception):
    """A point cannot be measured; the sweep goes on with others."""


@dataclass(frozen=True, slots=True)
class Round:
    """What was seen of one round.

    Attributes:
        batches: What was asked; in a closed loop each request is a batch of its own.
        responses: What came back, per batch.
        e2e_s: Seconds of each batch, seen from outside of the backend; None of a request
            that failed in a closed loop.
        start_s: `time.monotonic()` before the first batch.
        end_s: The same behind the last one.
        suspended_s: How long the machine slept in between.
        other_load: Share of the cores that other processes used, or None.
        peak_memory_bytes: Highest use during the round; None of a service.
        wall_s: Of a closed loop: from the first request to the last reply.
        client_cpu: Of a closed loop: processor time of this process, as a share of `wall_s`.
        prepare_s: Of a closed loop: how long this process made the requests, before `start_s`.
    """

    batches: Batches
    responses: tuple[tuple[Response, ...], ...]
    e2e_s: tuple[float | None, ...]
    start_s: float
    end_s: float
    suspended_s: float
    other_load: float | None
    peak_memory_bytes: int | None
    wall_s: float | None = None
    client_cpu: float | None = None
    prepare_s: float | None = None

    @property
    def seconds(self) -> float:
        """Measured time: that of the batches, without what lies between them."""
        return sum(s or 0.0 for s in self.e2e_s) if self.wall_s is None else self.wall_s

    @property
    def replies(self) -> tuple[Response, ...]:
        """All responses."""
        return tuple(response for batch in self.responses for response in batch)

    def record(self, block: Block, kind: Kind, number: int) -> dict[str, Any]:
        """The round as a log record; `number` counts the rounds of the block."""
        return {
            "type": "round",
            **block.record(),
            "kind": kind,
            "number": number,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "suspended_s": self.suspended_s,
            "other_load": self.other_load,
            "peak_memory_bytes": self.peak_memory_bytes,
            "wall_s": self.wall_s,
            "client_cpu": self.client_cpu,
            "prepare_s": self.prepare_s,
            "batches": [
                _batch_record(requests, responses, e2e_s)
                for requests, responses, e2e_s in zip(
                    self.batches, self.responses, self.e2e_s, strict=True
                )
            ],
        }


class RoundTimer:
    """Takes rounds on one backend and device."""

    def __init__(self, backend: Backend, device: Device, watch: LoadWatch | None = None) -> None:
        self._backend = backend
        self._device = device
        self._watch = watch or LoadWatch()

    def take(self, batches: Batches) -> Round:
        """Runs the batches one after the other.

        Raises:
            ModeltestError: Concerns the whole run.
            PointError: This batch size cannot be measured; the device is well.
        """
        gc.collect()
        self._device.reset_peak_memory()
        self._watch.begin()
        asleep_s = suspended_s()
        responses: list[list[Response]] = []
        seconds: list[float] = []
        failure = ""
        start_s = time.monotonic()
        with _no_collection():
            try:
                for requests in batches:
                    begin_s = time.perf_counter()
                    responses.append(self._backend.generate(requests))
                    seconds.append(time.perf_counter() - begin_s)
            except ModeltestError:
                raise
            except Exception as error:  # the point's boundary: a failure here is a row's value
                out_of_memory = self._device.is_out_of_memory(error)
                failure = OUT_OF_MEMORY if out_of_memory else f"{type(error).__name__}: {error}"
        if failure:  # out here the traceback, which holds the batch's tensors, is gone
            self._give_up(failure)
        end_s = time.monotonic()
        for requests, replies in zip(batches, responses, strict=True):
            _refuse_other_replies(requests, replies)
        return Round(
            batches=batches,
            responses=tuple(tuple(replies) for replies in responses),
            e2e_s=tuple(
                _reported(replies, s) for replies, s in zip(responses, seconds, strict=True)
            ),
            start_s=start_s,
            end_s=end_s,
            suspended_s=suspended_s() - asleep_s,
            other_load=self._watch.other_load(),
            peak_memory_bytes=self._device.peak_memory_bytes(),
        )

    def take_closed_loop(
        self, backend: Service, make_requests: Callable[[], tuple[Request, ...]]
    ) -> Round:
        """Sends requests; each reply lets the next one go. Bodies are made before the clock.

        Raises:
            ModeltestError: Concerns the whole run.
        """
        prepare_s = time.perf_counter()
        backend.drop_clips()
        requests = make_requests()
        prepared = backend.prepare(requests)
        gc.collect()
        self._watch.begin()
        asleep_s = suspended_s()
        start_s, begin_s, cpu_s = time.monotonic(), time.perf_counter(), time.process_time()
        prepare_s = begin_s - prepare_s
        with _no_collection():
            responses = backend.generate(requests, prepared)
        wall_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
        _refuse_other_replies(requests, responses)
        return Round(
            batches=tuple((request,) for request in requests),
            responses=tuple((response,) for response in responses),
            e2e_s=tuple(r.timing.e2e_s if r.timing else None for r in responses),
            start_s=start_s,
            end_s=time.monotonic(),
            suspended_s=suspended_s() - asleep_s,
            other_load=None if backend.is_on_this_host else self._watch.other_load(),
            peak_memory_bytes=None,
            wall_s=wall_s,
            client_cpu=cpu_s / wall_s,
            prepare_s=prepare_s,
        )

    def _give_up(self, failure: str) -> None:
        self._device.free_memory()
        if not self._device.is_alive():
            raise DeviceError(f"{self._device.torch_name} does not answer any more ({failure})")
        raise PointError(failure)


def outputs_record(block: Block, round_: Round, correct: int | None) -> dict[str, Any]:
    """A hash of each reply, so that batch sizes can be compared."""
    replies = sorted(round_.replies, key=lambda response: response.sample_id)
    return {
        "type": "outputs",
        **block.record(),
        "hash_of": _hashed_part(replies),
        "items": [[reply.sample_id, digest(_output(reply))] for reply in replies],
        "correct": correct,
        "total": len(replies),
    }


@contextmanager
def _no_collection() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _reported(replies: Sequence[Response], seconds: float) -> float:
    """The backend's own time, read after draining the device; else what the caller saw."""
    return next((r.timing.e2e_s for r in replies if r.timing is not None), seconds)


def _batch_record(
    requests: Sequence[Request], responses: Sequence[Response], e2e_s: float | None
) -> dict[str, Any]:
    return {
        "e2e_s": e2e_s,
        **_stage_times(responses),
        "audio_s": sum(clip.duration_s for request in requests for clip in request.audio),
        "input_tokens": [response.input_tokens for response in responses],
        "output_tokens": [response.output_tokens for response in responses],
        "audio_tokens": _total([response.audio_tokens for response in responses]),
        "hash_of": _hashed_part(responses),
        "outputs_sha256": digest([_output(response) for response in responses]),
        "errors": [response.error for response in responses if response.error],
    }


def _total(counts: Sequence[int | None]) -> int | None:
    """The sum, or None when one is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _stage_times(responses: Sequence[Response]) -> Mapping[str, Any]:
    timings = [response.timing for response in responses if response.timing]
    stages = next((timing.stages for timing in timings if timing.stages), None)
    stream = next((timing.stream for timing in timings if timing.stream), None)
    if stream is not None:  # of a service only when its pieces arrived is known
        return {
            **dict.fromkeys(("feature_s", "encoder_s", "prefill_s", "detokenize_s")),
            "ttft_s": stream.ttft_s,
            "step_s": list(stream.gap_s),
        }
    return {
        "feature_s": stages and stages.feature_s,
        "encoder_s": stages and stages.encoder_s,
        "prefill_s": stages and stages.prefill_s,
        "ttft_s": stages and stages.ttft_s,
        "step_s": stages and list(stages.step_s),
        "detokenize_s": stages and stages.detokenize_s,
    }


def _output(response: Response) -> list[int] | str:
    return list(response.output_ids) if response.output_ids else response.text


def _hashed_part(responses: Sequence[Response]) -> str:
    return "token ids" if any(response.output_ids for response in responses) else "texts"


def _refuse_other_replies(requests: Sequence[Request], responses: Sequence[Response]) -> None:
    asked = [request.sample_id for request in requests]
    answered = [response.sample_id for response in responses]
    if asked != answered:
        raise ModeltestError(f"the backend answered {answered} when asked {asked}")
