"""What a sweep asks: the clips, the batches made of them, and where clips come from."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.audio.decode import truncate
from modeltest.audio.workers import DecodeWorkers
from modeltest.errors import AudioError, DataError, one_line
from modeltest.protocols import Backend, Progress, Task
from modeltest.records import Audio, AudioSource, Generation, Prompt, Request, Response, Sample
from modeltest.runlog.digests import digest
from modeltest.runner.plan import CheckedData
from modeltest.runner.sweep_plan import Block, Point
from modeltest.tasks.data.files import AUDIO_ENDINGS, walk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Batches = tuple[tuple[Request, ...], ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """A decoded clip.

    Attributes:
        name: What a user recognises it by; with `--task` the sample's id.
        audio: As the model hears it.
        truth: With `--task`, the right label.
    """

    name: str
    audio: Audio
    truth: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a sweep asks.

    Attributes:
        clips: At least one.
        prompt: What is asked of each.
        max_new_tokens: Longest reply.
        seed: Decides the order of a task's samples and how clips are varied.
        task: With `--task`, reads the answers; else None.
    """

    clips: tuple[Clip, ...]
    prompt: Prompt
    max_new_tokens: int
    seed: int
    task: Task | None = None

    def copies(self, point: Point) -> Batches:
        """One batch of the clips as they are, repeated in turn until it is full."""
        rows = range(point.batch_size)
        return (tuple(self.request(self._row(row), f"#{row}", point) for row in rows),)

    def distinct(self, block: Block, number: int) -> Batches:
        """One batch of the same lengths and sounds, of which nothing was ever heard before.

        Each clip is turned in a circle by an offset of its own: same length, same level, but
        no sample where it was, so whatever is kept of an earlier batch cannot serve.
        """
        requests = []
        for row in range(block.point.batch_size):
            clip, point = self._row(row), block.point
            draw = random.Random(f"turn {self.seed} {point} {block.pass_number} {number} {row}")
            turned = turn(clip.audio, draw.randrange(1, len(clip.audio.waveform)))
            requests.append(self.request(replace(clip, audio=turned), f"#{row}", point))
        return (tuple(requests),)

    def whole_task(self, block: Block, number: int) -> Batches:
        """Every sample once, in an order of its own, in batches; the last may be short."""
        clips, size = list(self.clips), block.point.batch_size
        random.Random(f"samples {self.seed} {block.pass_number} {number}").shuffle(clips)
        return tuple(
            tuple(self.request(clip, "", block.point) for clip in clips[first : first + size])
            for first in range(0, len(clips), size)
        )

    def longest(self, point: Point) -> Batches:
        """One batch of the longest clips."""
        clips = sorted(self.clips, key=lambda clip: (-len(clip.audio.waveform), clip.name))
        return (tuple(self.request(c, "", point) for c in clips[: point.batch_size]),)

    def num_correct(self, block: Block, responses: Sequence[Response]) -> int | None:
        """Right answers; None where nothing was asked that has one, or replies went on too far."""
        truths = {clip.name: clip.truth for clip in self.clips}
        if self.task is None or block.point.mode == "fixed" or not all(truths.values()):
            return None
        scores = (
            self.task.score(Sample(r.sample_id, (), truths[r.sample_id]), r) for r in responses
        )
        return sum(score.correct for score in scores)

    def _row(self, row: int) -> Clip:
        return self.clips[row % len(self.clips)]

    def request(self, clip: Clip, suffix: str, point: Point) -> Request:
        """The question about a clip; `suffix` tells its requests apart."""
        generation = Generation(self.max_new_tokens, ignore_eos=point.mode == "fixed")
        return Request(f"{clip.name}{suffix}", (clip.audio,), self.prompt, generation)


def turn(audio: Audio, offset: int) -> Audio:
    """The same clip, begun `offset` samples later, its beginning put behind its end."""
    import numpy as np

    return with_waveform(audio, np.roll(audio.waveform, -offset))


def with_waveform(audio: Audio, waveform: NDArray[np.float32]) -> Audio:
    """The clip with other samples, float32, shape `(num_samples,)`."""
    return replace(audio, waveform=waveform, sha256=hashlib.sha256(waveform.tobytes()).hexdigest())


def median_sample(data: CheckedData) -> int:
    """Index of the sample whose clip is at the median length, the lower one of two."""
    order = sorted(
        range(len(data.samples)),
        key=lambda i: (data.facts[i][0].duration_s, data.samples[i].sample_id),
    )
    return order[(len(order) - 1) // 2]


def sources_at(path: Path) -> tuple[tuple[AudioSource, ...], int]:
    """The clips that `--audio` names.

    Returns:
        The file, or every file below the folder that is audio by its ending; and how many
        other files there are.

    Raises:
        DataError: There is none, or the folder cannot be read.
    """
    if not path.is_dir():
        return (AudioSource(one_line(path.name), path=path),), 0
    found = walk(path)
    if found.problems:
        problem = found.problems[0]
        raise DataError(f"--audio {path}: {problem.name} {problem.what}")
    passed_over = sum(found.passed_over.values())
    sources = tuple(file.source() for file in found.audio)
    if not sources:
        endings = " ".join(sorted(AUDIO_ENDINGS))
        raise DataError(f"--audio {path}: holds no audio file ({endings})")
    return sources, passed_over


def decode_clips(
    sources: Sequence[tuple[AudioSource, str, str]],
    backend: Backend,
    truncate_long: bool,
    progress: Progress,
) -> tuple[Clip, ...]:
    """Decodes and resamples, long before anything is timed.

    Args:
        sources: Each clip with its name and its truth.
        backend: Says at which rate and how long the model hears; not loaded.
        truncate_long: Cut clips that are too long instead of refusing them.
        progress: Told of each clip.

    Raises:
        AudioError: A clip cannot be decoded.
        DataError: A clip is longer than the model hears.
    """
    clips = []
    progress.start(len(sources), "decoding")
    try:
        with DecodeWorkers() as workers:
            for source, name, truth in sources:
                audio = workers.decode(source, backend.sampling_rate_hz)
                clips.append(Clip(name, _heard(audio, name, backend, truncate_long), truth))
                progress.advance(1)
    except AudioError as error:
        raise DataError(str(error)) from error
    finally:
        progress.finish()
    return tuple(clips)


def refuse_long_inputs(
    clips: Sequence[Clip], prompt: Prompt, backend: Backend, max_tokens: int
) -> None:
    """Looks for a clip whose request is longer than the user allows.

    Raises:
        DataError: There is one.
    """
    for clip in clips:
        request = Request(clip.name, (clip.audio,), prompt, Generation(1))
        refuse_long_input(request, backend, max_tokens)


def refuse_long_input(request: Request, backend: Backend, max_tokens: int) -> None:
    """Makes sure that a request is not longer than the user allows.

    Raises:
        DataError: It is.
    """
    num_tokens = backend.num_input_tokens(request)
    if num_tokens > max_tokens:
        raise DataError(
            f"{request.sample_id}: the request has {num_tokens} input tokens, --max-input-length "
            f"allows {max_tokens}; take a shorter clip or raise the limit"
        )


def clips_digest(clips: Sequence[Clip]) -> str:
    """Identifies names and audio bytes."""
    return digest([[clip.name, clip.audio.sha256] for clip in clips])


def _heard(audio: Audio, name: str, backend: Backend, truncate_long: bool) -> Audio:
    if audio.duration_s <= backend.max_audio_s:
        return audio
    if truncate_long:
        return truncate(audio, backend.max_audio_s)
    raise DataError(
        f"{name}: the clip is {audio.duration_s:.2f} s long, the model hears "
        f"{backend.max_audio_s:g} s; set task.long_audio to truncate to measure its beginning"
    )
