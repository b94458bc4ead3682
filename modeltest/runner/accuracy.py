"""Evaluates a plan's samples, batch by batch, into the run log."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any, Protocol

from modeltest.audio.workers import DecodeWorkers
from modeltest.errors import AudioError, ModeltestError, SettingsError
from modeltest.protocols import Backend, Device, Progress, Task
from modeltest.records import Audio, AudioFacts, AudioSource, Request, Response, Sample
from modeltest.runlog.probes import probe_record
from modeltest.runlog.run_log import phase_record, sample_record, stop_record
from modeltest.runlog.segment import SegmentWriter
from modeltest.runner.batches import (
    Batch,
    BatchMaker,
    Member,
    Work,
    failed,
    planned_batches,
    prepare_clip,
)
from modeltest.runner.prefetch import prefetched
from modeltest.runner.recovery import generate_surviving
from modeltest.settings.schema import MultimodalSettings

__all__ = ["Work", "evaluate", "warm_up", "warm_up_clips"]

_LOG = logging.getLogger(__name__)


class RecordLog(Protocol):
    """Where records go."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Keeps one record."""
        ...


def evaluate(  # noqa: PLR0913  (what an evaluation brings together)
    work: Work,
    backend: Backend,
    device: Device,
    log: SegmentWriter,
    progress: Progress,
    *,
    workers: DecodeWorkers | None = None,
    prefetch: bool = True,
) -> bool:
    """Asks every sample and logs every reply; a failure costs its sample only.

    Samples are asked in batches of clips of about the same length, the longest first; each
    record holds its sample's place in the task's order. A batch of which only some replies
    are in the log is run whole and the missing ones are logged, so that a resumed run forms
    the same batches as one that was never stopped; a reply that contradicts the log is logged
    too, which makes the run INVALID.

    Args:
        work: Samples and how to ask them.
        backend: Loaded.
        device: Where it runs.
        log: Receives one record per sample and one for the phase.
        progress: Told of each batch, outside the timed regions.
        workers: Decode the clips; without them, some are started for it.
        prefetch: Decode and prepare a batch while the backend answers the one before.

    Returns:
        Whether all samples were asked; with too many failures it may end before.
    """
    progress.start(len(work.samples), "evaluating")
    start_s = time.perf_counter()
    num_failed, num_logged = work.logged.num_failed, 0
    num_left = len(work.samples)
    try:
        with (
            nullcontext(workers) if workers else DecodeWorkers() as decoders,
            closing(_batches(work, backend, decoders, prefetch)) as batches,
        ):
            for batch in batches:
                for record in answered(work.task, batch, backend, device, log):
                    log.append(record)
                    num_logged += 1
                    num_failed += is_failed_sample(record)
                progress.advance(len(batch.members))
                num_left -= len(batch.members)
                too_many = work.max_failed is not None and num_failed > work.max_failed
                if too_many and num_left:
                    reason = f"stopped after {num_failed} failed samples (--fail-on-error)"
                    log.append(stop_record(reason))
                    break
    finally:
        seconds = time.perf_counter() - start_s
        log.append(phase_record("eval", seconds, num_samples=num_logged))
        log.sync()
        progress.finish()
    return not num_left


def warm_up_clips(
    samples: Sequence[Sample],
    settings: MultimodalSettings,
    backend: Backend,
    workers: DecodeWorkers | None = None,
) -> list[Audio]:
    """The clips to warm up on: the settings', else the first sample's.

    Raises:
        SettingsError: A clip of the settings cannot be used.
    """
    with nullcontext(workers) if workers else DecodeWorkers() as decoders:
        try:
            clips = [
                decoders.decode(AudioSource(str(path), path=path), backend.sampling_rate_hz)
                for path in settings.warm_up_audio_path
            ]
        except AudioError as error:
            raise SettingsError(f"mm_model.warm_up_audio_path: {error}") from error
        for sample in () if clips else samples:
            try:
                return [decoders.decode(sample.audio[0], backend.sampling_rate_hz)]
            except AudioError:  # it fails again where it is counted
                continue
    return clips


def warm_up(task: Task, backend: Backend, clips: Sequence[Audio]) -> float:
    """Runs one request on each clip, so that first-use costs stay out of the evaluation.

    A clip that is too long is cut, and one takes all places of a request of several: only the
    time matters here, the replies are dropped.

    Returns:
        Seconds that it took.
    """
    start_s = time.perf_counter()
    for clip in clips:
        heard = prepare_clip(clip, backend.max_audio_s, truncate_long=True)
        clips_of_one = (heard,) * task.num_clips
        request = Request("warm-up", clips_of_one, task.prompt(), task.generation())
        try:
            backend.generate([request])
        except ModeltestError:
            raise
        except Exception as error:  # it fails again where it is counted
            _LOG.warning("warming up failed: %s: %s", type(error).__name__, error)
    return time.perf_counter() - start_s


def _batches(
    work: Work, backend: Backend, workers: DecodeWorkers, prefetch: bool
) -> Generator[Batch, None, None]:
    maker = BatchMaker(
        work.task, backend, workers, truncate_long=work.truncate_long, prepare=prefetch
    )
    batches = maker.ready(planned_batches(work))
    return prefetched(batches, workers.stop) if prefetch else batches


def answered(
    task: Task, batch: Batch, backend: Backend, device: Device, log: RecordLog
) -> Iterator[dict[str, Any]]:
    """Asks a batch of which replies are missing.

    Yields:
        The missing samples' and the probes' records, to be logged. What else there is to log
        is logged here: batches that were halved, and replies that contradict the log.
    """
    if batch.is_done:
        return

    def note_split(size: int, reason: str) -> None:
        if not batch.members[0].probe:  # a probe's batch is not the run's
            log.append({"type": "split", "size": size, "reason": reason})

    replies = iter(
        generate_surviving(backend, device, batch.requests, note_split, batch.take_prepared)
    )
    for member in batch.members:
        response = next(replies) if member.request else failed(member)
        if member.probe:
            yield record_of_probe(task, member, response)
        elif member.is_missing:
            yield record_of(task, member, response)
        elif member.contradicts_log(response):
            log.append(record_of(task, member, response))  # a reader of the log finds both


def is_failed_sample(record: Mapping[str, Any]) -> bool:
    """Whether a record that `answered` yields is of a sample that failed."""
    return record["type"] == "sample" and bool(record["response"]["error"])


def record_of_probe(task: Task, member: Member, response: Response) -> dict[str, Any]:
    """The log record of a probe and the response to it."""
    answer = task.score(member.sample, response).answer
    return probe_record((member.probe, member.index), member.sample.sample_id, response, answer)


def record_of(task: Task, member: Member, response: Response) -> dict[str, Any]:
    """The log record of a sample and the response to it."""
    return sample_record(
        index=member.index,
        key=member.key,
        sample=member.sample,
        subsets=task.subsets(member.sample),
        clips=_clip_records(member.sample, member.facts, member.request),
        response=response,
        score=task.score(member.sample, response),
    )


def _clip_records(
    sample: Sample, facts: tuple[AudioFacts, ...], request: Request | None
) -> tuple[Mapping[str, Any], ...]:
    notes = [clip.note for clip in request.audio] if request else [""] * len(facts)
    heard = [clip.duration_s for clip in request.audio] if request else [0.0] * len(facts)
    shapes = [clip.envelope for clip in request.audio] if request else [""] * len(facts)
    return tuple(
        {
            "name": source.name,
            "sha256": fact.sha256,
            "duration_s": fact.duration_s,
            "heard_s": min(fact.duration_s, heard_s),
            "sampling_rate_hz": fact.sampling_rate_hz,
            "num_channels": fact.num_channels,
            "container": fact.container,
            "note": note,
            "envelope": shape,
        }
        for source, fact, note, heard_s, shape in zip(
            sample.audio, facts, notes, heard, shapes, strict=True
        )
    )
