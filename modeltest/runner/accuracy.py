"""Evaluates a plan's samples, batch by batch, into the run log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.audio.decode import truncate
from modeltest.audio.workers import DecodeWorkers
from modeltest.errors import AudioError, ModeltestError, SettingsError
from modeltest.protocols import Backend, Device, Progress, Task
from modeltest.records import Audio, AudioFacts, AudioSource, Request, Response, Sample
from modeltest.runlog.run_log import phase_record, sample_key, sample_record
from modeltest.runlog.segment import SegmentWriter
from modeltest.runner.recovery import generate_surviving
from modeltest.settings.schema import MultimodalSettings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What `evaluate` needs to know beside backend and device.

    Attributes:
        task: What is asked.
        samples: Of whom, in the task's order.
        facts: Per sample, what the data check found.
        batch_size: Requests per call of the backend.
        truncate_long: Cut clips that are too long instead of failing the sample.
        identity_sha256: Digest of everything that decides a reply.
        done_keys: Keys that the log has already; their samples are not logged again.
        num_failed: Failed samples among those.
        max_failed: End the run when more samples than that failed; None never does.
    """

    task: Task
    samples: Sequence[Sample]
    facts: Sequence[tuple[AudioFacts, ...]]
    batch_size: int
    truncate_long: bool
    identity_sha256: str
    done_keys: frozenset[str] = frozenset()
    num_failed: int = 0
    max_failed: int | None = None

    def key(self, index: int) -> str:
        """What the reply of a sample belongs to."""
        return sample_key(self.samples[index], self.facts[index], self.identity_sha256)


def evaluate(
    work: Work, backend: Backend, device: Device, log: SegmentWriter, progress: Progress
) -> None:
    """Asks every sample and logs every reply; a failure costs its sample only.

    A batch of which only some replies are in the log is run whole and the missing ones are
    logged, so that a resumed run forms the same batches as one that was never stopped.

    Args:
        work: Samples and how to ask them.
        backend: Loaded.
        device: Where it runs.
        log: Receives one record per sample and one for the phase.
        progress: Told of each batch, outside the timed regions.
    """
    progress.start(len(work.samples), "evaluating")
    start_s = time.perf_counter()
    num_failed, num_logged = work.num_failed, 0
    try:
        with DecodeWorkers() as workers:
            for first in range(0, len(work.samples), work.batch_size):
                indices = range(first, min(first + work.batch_size, len(work.samples)))
                missing = {i for i in indices if work.key(i) not in work.done_keys}
                if missing:
                    for record in _batch(work, indices, backend, device, log, workers):
                        if record["index"] in missing:
                            log.append(record)
                            num_logged += 1
                            num_failed += bool(record["response"]["error"])
                progress.advance(len(indices))
                if work.max_failed is not None and num_failed > work.max_failed:
                    reason = f"stopped after {num_failed} failed samples (--fail-on-error)"
                    log.append({"type": "stop", "reason": reason})
                    break
    finally:
        seconds = time.perf_counter() - start_s
        log.append(phase_record("eval", seconds, num_samples=num_logged))
        log.sync()
        progress.finish()


def warm_up_clips(
    samples: Sequence[Sample], settings: MultimodalSettings, backend: Backend
) -> list[Audio]:
    """The clips to warm up on: the settings', else the first sample's.

    Raises:
        SettingsError: A clip of the settings cannot be used.
    """
    with DecodeWorkers() as workers:
        try:
            clips = [
                workers.decode(AudioSource(str(path), path=path), backend.sampling_rate_hz)
                for path in settings.warm_up_audio_path
            ]
        except AudioError as error:
            raise SettingsError(f"mm_model.warm_up_audio_path: {error}") from error
        for sample in () if clips else samples:
            try:
                return [workers.decode(sample.audio[0], backend.sampling_rate_hz)]
            except AudioError:  # it fails again where it is counted
                continue
    return clips


def warm_up(work: Work, backend: Backend, clips: Sequence[Audio]) -> float:
    """Runs one request on each clip, so that first-use costs stay out of the evaluation.

    A clip that is too long is cut: only the time matters here, the replies are dropped.

    Returns:
        Seconds that it took.
    """
    start_s = time.perf_counter()
    for clip in clips:
        heard = prepare_clip(clip, backend.max_audio_s, truncate_long=True)
        request = Request("warm-up", (heard,), work.task.prompt(), work.task.generation())
        try:
            backend.generate([request])
        except ModeltestError:
            raise
        except Exception as error:  # it fails again where it is counted
            _LOG.warning("warming up failed: %s: %s", type(error).__name__, error)
    return time.perf_counter() - start_s


def prepare_clip(audio: Audio, max_audio_s: float, truncate_long: bool) -> Audio:
    """The clip as the model can hear it.

    Raises:
        AudioError: It is longer than the model hears and must not be cut.
    """
    if audio.duration_s <= max_audio_s:
        return audio
    if truncate_long:
        return truncate(audio, max_audio_s)
    raise AudioError(
        f"the clip is {audio.duration_s:.2f} s long, the model hears {max_audio_s:g} s; "
        "set task.long_audio to truncate to evaluate its beginning"
    )


def _batch(
    work: Work,
    indices: range,
    backend: Backend,
    device: Device,
    log: SegmentWriter,
    workers: DecodeWorkers,
) -> Iterator[dict[str, Any]]:
    requests: dict[int, Request] = {}
    responses: dict[int, Response] = {}
    for index in indices:
        sample = work.samples[index]
        try:
            clips = tuple(
                prepare_clip(
                    _unchanged(workers.decode(source, backend.sampling_rate_hz), source, fact),
                    backend.max_audio_s,
                    work.truncate_long,
                )
                for source, fact in zip(sample.audio, work.facts[index], strict=True)
            )
        except AudioError as error:
            responses[index] = Response(sample.sample_id, text="", error=str(error))
            continue
        requests[index] = Request(
            sample.sample_id, clips, work.task.prompt(), work.task.generation()
        )

    def note_split(size: int, reason: str) -> None:
        log.append({"type": "split", "size": size, "reason": reason})

    replies = generate_surviving(backend, device, list(requests.values()), note_split)
    responses.update(zip(requests, replies, strict=True))
    for index in indices:
        sample, response = work.samples[index], responses[index]
        request = requests.get(index)
        yield sample_record(
            index=index,
            key=work.key(index),
            sample=sample,
            subsets=work.task.subsets(sample),
            clips=_clip_records(sample, work.facts[index], request),
            response=response,
            score=work.task.score(sample, response),
        )


def _unchanged(audio: Audio, source: AudioSource, fact: AudioFacts) -> Audio:
    if audio.sha256 != fact.sha256:
        raise AudioError(f"{source.name}: changed since the run began; run again")
    return audio


def _clip_records(
    sample: Sample, facts: tuple[AudioFacts, ...], request: Request | None
) -> tuple[Mapping[str, Any], ...]:
    notes = [clip.note for clip in request.audio] if request else [""] * len(facts)
    heard = [clip.duration_s for clip in request.audio] if request else [0.0] * len(facts)
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
        }
        for source, fact, note, heard_s in zip(sample.audio, facts, notes, heard, strict=True)
    )
