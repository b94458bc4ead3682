"""Which samples form a batch, and making a batch ready for the backend."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import tee
from typing import Any

from modeltest.audio.decode import truncate
from modeltest.audio.workers import DecodeWorkers
from modeltest.errors import AudioError, ModeltestError
from modeltest.protocols import Backend, Task
from modeltest.records import (
    Audio,
    AudioFacts,
    AudioSource,
    Generation,
    Prompt,
    Request,
    Response,
    Sample,
)
from modeltest.runlog.digests import short_digest
from modeltest.runlog.keys import sample_key
from modeltest.runlog.probes import SILENCED, Probe
from modeltest.runner.logged_replies import LoggedReplies


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
        logged: What the log has already; it is not logged again.
        max_failed: End the run when more samples than that failed; None never does.
        probes: What is asked once more behind the samples, and is not in the log yet.
    """

    task: Task
    samples: Sequence[Sample]
    facts: Sequence[tuple[AudioFacts, ...]]
    batch_size: int
    truncate_long: bool
    identity_sha256: str
    logged: LoggedReplies = field(default_factory=LoggedReplies)
    max_failed: int | None = None
    probes: Sequence[Probe] = ()

    @property
    def lacks_samples(self) -> bool:
        """Whether the log does not have all of them."""
        return len(self.logged.keys) < len(self.samples)


@dataclass(slots=True)
class Member:
    """One sample of a batch.

    Attributes:
        index: Its place in the task's order.
        sample: What it is.
        facts: What the data check found of its clips.
        key: What its reply belongs to.
        is_missing: The log has neither a reply nor a failure of it.
        logged_digest: Short digest of the text that the log has in reply, else empty.
        request: What the backend is asked; None when its clips cannot be heard.
        failure: Why not.
        probe: As which probe it is asked; empty where its reply counts.
    """

    index: int
    sample: Sample
    facts: tuple[AudioFacts, ...]
    key: str
    is_missing: bool
    logged_digest: bytes = b""
    request: Request | None = None
    failure: str = ""
    probe: str = ""

    def contradicts_log(self, response: Response) -> bool:
        """Whether the log has a reply with another text; a failure contradicts nothing."""
        if response.error or not self.logged_digest:
            return False
        return short_digest(response.text) != self.logged_digest


@dataclass(slots=True)
class Batch:
    """Samples that the backend is asked together.

    Attributes:
        members: The longest clips first.
    """

    members: list[Member]
    _prepared: Any = field(default=None, repr=False)

    @property
    def is_done(self) -> bool:
        """Whether the log has every reply."""
        return not any(member.is_missing for member in self.members)

    @property
    def requests(self) -> list[Request]:
        """What the backend is asked."""
        return [member.request for member in self.members if member.request]

    def take_prepared(self) -> Any:
        """What the backend prepared for these requests, once, so that nothing else holds it.

        Raises:
            Exception: What the backend raised instead.
        """
        prepared, self._prepared = self._prepared, None
        if isinstance(prepared, Exception):
            raise prepared
        return prepared

    def prepare(self, backend: Backend) -> None:
        """Lets the backend do the host's part; what it raises, `take_prepared` raises."""
        if not self.requests:
            return
        try:
            self._prepared = backend.prepare(self.requests)
        except ModeltestError:
            raise
        except Exception as error:  # the sample boundary is where the batch is answered
            self._prepared = error


def batch_plan(facts: Sequence[tuple[AudioFacts, ...]], batch_size: int) -> Iterator[list[int]]:
    """Indices of the samples of each batch: clips of about the same length together.

    The longest come first, so that a batch that does not fit the memory shows early; clips of
    one length stay in the task's order. Only the data and the batch size decide, so a resumed
    run forms the same batches.
    """
    import numpy as np

    seconds = np.fromiter((-sum(clip.duration_s for clip in clips) for clips in facts), np.float64)
    order = np.argsort(seconds, kind="stable")
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size].tolist()


def planned_batches(work: Work) -> Iterator[Batch]:
    """All batches of a work, with what of them is done; nothing is decoded yet."""
    for indices in batch_plan(work.facts, work.batch_size):
        yield Batch([_member(work, index) for index in indices])


def probe_batches(work: Work) -> list[Batch]:
    """The probes of a work: the silenced ones together, each of the others alone."""
    silenced = [_probe(work, kind, index) for kind, index in work.probes if kind == SILENCED]
    others = [_probe(work, kind, index) for kind, index in work.probes if kind != SILENCED]
    size = work.batch_size
    together = [silenced[first : first + size] for first in range(0, len(silenced), size)]
    return [Batch(members) for members in (*together, *([other] for other in others))]


def _probe(work: Work, kind: str, index: int) -> Member:
    return replace(_member(work, index), is_missing=True, logged_digest=b"", probe=kind)


def _member(work: Work, index: int) -> Member:
    sample, facts = work.samples[index], work.facts[index]
    key = sample_key(sample, facts, work.identity_sha256)
    is_missing = not work.logged.keys or short_digest(key) not in work.logged.keys
    return Member(index, sample, facts, key, is_missing, work.logged.text_digest(key))


class BatchMaker:
    """Makes batches ready: decodes, and lets the backend prepare."""

    def __init__(
        self,
        task: Task,
        backend: Backend,
        workers: DecodeWorkers,
        *,
        truncate_long: bool,
        prepare: bool,
    ) -> None:
        """Asks the task once for what all requests share.

        Args:
            task: What is asked.
            backend: Says how it hears.
            workers: Decode the clips.
            truncate_long: Cut clips that are too long instead of failing the sample.
            prepare: Let the backend prepare, too; else it does so when it is asked.
        """
        self._backend = backend
        self._workers = workers
        self._truncate_long = truncate_long
        self._prepare = prepare
        self._prompt: Prompt = task.prompt()
        self._generation: Generation = task.generation()

    def ready(self, batches: Iterable[Batch]) -> Generator[Batch, None, None]:
        """Makes one batch after the other ready; one that is done is not decoded.

        The workers go on with the next batches' clips while the caller is busy with one.
        """
        here, ahead = tee(batches)
        clips = (
            source
            for batch in ahead
            if not batch.is_done
            for member in batch.members
            for source in member.sample.audio
        )
        with closing(self._workers.decode_all(clips, self._backend.sampling_rate_hz)) as decoded:
            for batch in here:
                if not batch.is_done:
                    self._ask_with(decoded, batch.members)
                    if self._prepare:
                        batch.prepare(self._backend)
                yield batch

    def _ask_with(self, decoded: Iterator[Audio | AudioError], members: Sequence[Member]) -> None:
        for member in members:
            clips = [next(decoded) for _ in member.sample.audio]
            try:
                heard = tuple(map(self._heard, clips, member.sample.audio, member.facts))
                if member.probe == SILENCED:
                    heard = silenced(heard)
            except AudioError as error:
                member.failure = str(error)
            else:
                sample_id = member.sample.sample_id
                member.request = Request(sample_id, heard, self._prompt, self._generation)

    def _heard(self, clip: Audio | AudioError, source: AudioSource, fact: AudioFacts) -> Audio:
        if isinstance(clip, AudioError):
            raise clip
        if clip.sha256 != fact.sha256:
            raise AudioError(f"{source.name}: changed since the run began; run again")
        return prepare_clip(clip, self._backend.max_audio_s, self._truncate_long)


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


def silenced(clips: tuple[Audio, ...]) -> tuple[Audio, ...]:
    """Clips of the same lengths in which nothing is to be heard, with digests of their own.

    Raises:
        AudioError: In these, nothing is to be heard either.
    """
    if not any(clip.waveform.any() for clip in clips):
        raise AudioError("the clip is silence itself")
    return tuple(map(_silenced, clips))


def _silenced(clip: Audio) -> Audio:
    import numpy as np

    waveform = np.zeros_like(clip.waveform)
    return replace(clip, waveform=waveform, sha256=hashlib.sha256(waveform.tobytes()).hexdigest())


def failed(member: Member) -> Response:
    """The response of a sample that could not be asked."""
    return Response(member.sample.sample_id, text="", error=member.failure)
