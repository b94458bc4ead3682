"""The nouns of modeltest: frozen records that every other part passes on.

Light on purpose: importing this module loads no numpy, no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AUDIO_PLACEHOLDER = "{audio}"
"""Marks where a clip stands in a raw prompt; the backend puts its model's audio tags there."""

PromptFormat = Literal["raw", "chat"]
ValidityName = Literal["VALID", "LIMITED", "INVALID", "INCOMPLETE"]


@dataclass(frozen=True, slots=True)
class AudioSource:
    """Undecoded audio: a file, or encoded bytes that `read` fetches on demand.

    Attributes:
        name: What a user recognises it by (a path below the data folder, or a row).
        path: The file, when there is one.
        read: Fetches the encoded bytes when there is no file of its own.
    """

    name: str
    path: str | Path | None = None
    read: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What the front door learned of one encoded clip, without decoding all of it.

    Attributes:
        sha256: Hex digest of the encoded bytes.
        num_bytes: Size of the encoded bytes.
        duration_s: Length that the header declares, seconds.
        sampling_rate_hz: Rate that the header declares.
        num_channels: Channels that the header declares.
        container: libsndfile's name of the format, for example `FLAC/PCM_16`.
    """

    sha256: str
    num_bytes: int
    duration_s: float
    sampling_rate_hz: int
    num_channels: int
    container: str


@dataclass(frozen=True, slots=True)
class Audio:
    """A decoded mono clip at the rate that the model wants.

    Attributes:
        waveform: float32, shape `(num_samples,)`, nominally within [-1, 1].
        sampling_rate_hz: Rate of `waveform`.
        sha256: Hex digest of the encoded bytes that it came from.
        source_duration_s: Length of the source before padding or truncation, seconds.
        note: What was done beyond the ordinary rule (padded, truncated), or empty.
        envelope: The shape of the whole source (`modeltest.audio.envelope`), or empty.
    """

    waveform: NDArray[np.float32]
    sampling_rate_hz: int
    sha256: str
    source_duration_s: float
    note: str = ""
    envelope: str = ""

    @property
    def duration_s(self) -> float:
        """Length of `waveform` in seconds."""
        return len(self.waveform) / self.sampling_rate_hz


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to ask: clips and the right answer.

    Attributes:
        sample_id: Stable and unique within the task.
        audio: Undecoded clips, in prompt order.
        truth: Label of the right choice, or what is said; empty where nobody knows.
        metadata: What is known of it (speaker, gender, age, …); strings only.
    """

    sample_id: str
    audio: tuple[AudioSource, ...]
    truth: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """A question of a dialogue that was answered before.

    Attributes:
        text: The question.
        num_clips: Clips that came with it.
        reply: What the model said.
    """

    text: str
    num_clips: int
    reply: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked, before a model's own tags or chat template surround it.

    Attributes:
        text: For `raw` the whole input with `AUDIO_PLACEHOLDER` for each clip; for
            `chat` the user's question alone, the clips come before it.
        format: `raw` (no chat template) or `chat`.
        turns: What was said before, `chat` only; the request's first clips are theirs.
    """

    text: str
    format: PromptFormat
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """How a reply is generated. Everything else that could change it is pinned by the backend.

    Attributes:
        max_new_tokens: Longest reply.
        ignore_eos: Go on behind the end token, so that every reply has that many tokens;
            for measuring speed only.
        stop_pattern: Regular expression; a reply whose beginning matches it ends there.
            Empty: replies end by themselves.
        options: Words whose logits as the first new token are wanted, such as the letters
            of the choices.
    """

    max_new_tokens: int
    ignore_eos: bool = False
    stop_pattern: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What a backend receives for one sample: decoded audio, prompt, generation settings."""

    sample_id: str
    audio: tuple[Audio, ...]
    prompt: Prompt
    generation: Generation


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Where the time of one batch went, seconds; the device's own events, resolved afterwards.

    Attributes:
        feature_s: Tokens, log-mel features and their transfer to the device.
        encoder_s: Audio encoder and projector; None where nothing tells of them.
        prefill_s: First pass of the language model, first token chosen; None where nothing
            tells when the encoder is done.
        ttft_s: From the request to the first token's availability: the three above and
            what lies between them.
        step_s: Each later token, `(steps,)`.
        detokenize_s: Token ids to text.
    """

    feature_s: float
    encoder_s: float | None
    prefill_s: float | None
    ttft_s: float
    step_s: tuple[float, ...]
    detokenize_s: float


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """When the pieces of one streamed reply arrived, seconds on the client's clock.

    Attributes:
        ttft_s: From sending the request to the first piece that is not empty.
        gap_s: Between one piece and the next (inter-token latency), `(pieces - 1,)`; a
            service may put several tokens into a piece.
    """

    ttft_s: float
    gap_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of one request, from a monotonic clock read after the device was drained.

    Attributes:
        e2e_s: From the batch's request to its replies as text, features included, decoding
            of the audio file excluded. All requests of a batch share it.
            Of a service it is each request's own, from sending it to its last byte.
        stages: Where it went; None where the backend cannot tell.
        stream: When a service's streamed reply arrived; None elsewhere.
    """

    e2e_s: float
    stages: StageTimes | None = None
    stream: StreamTimes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What came back for one request: a text, or an error in its place.

    Attributes:
        text: Decoded new tokens without special tokens; empty when `error` is set.
        input_text: The rendered model input.
        input_tokens: Tokens that entered the language model, audio positions included.
        audio_tokens: Those among them that stand for audio.
        output_tokens: New tokens, the end token included.
        finish_reason: `stop` (end token), `answer` (stop pattern) or `length`; empty when
            `error` is set.
        output_ids: The new tokens themselves; empty where the backend has none.
        option_logits: Per option of the request its logit as the first new token; empty
            where the backend has none.
    """

    sample_id: str
    text: str
    input_text: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str = ""
    timing: Timing | None = None
    error: str = ""
    output_ids: tuple[int, ...] = ()
    option_logits: tuple[float, ...] = ()
    audio_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class StageWork:
    """What a stage has to compute and to move for one batch.

    Attributes:
        useful_flops: Floating-point operations on real frames and tokens.
        executed_flops: The same with padding.
        num_bytes: Bytes that must be read from memory at least: weights and cache.
    """

    useful_flops: float
    executed_flops: float
    num_bytes: float


@dataclass(frozen=True, slots=True)
class Score:
    """Whether one reply is right, by our answer rule and by the original tool's.

    Attributes:
        answer: Label, or words, that the task read out of the reply; None is unparsed (or
            failed).
        correct: `answer` is the truth. Never true for an unparsed or failed sample.
        legacy_answer: Label by the original tool's rule.
        legacy_correct: The original rule's verdict on the same reply.
        option_answer: Label of the option whose first token has the highest logit, whatever
            the reply says; None where the backend gives no logits.
        option_correct: `option_answer` is the truth.
        num_word_edits: Words to substitute, delete and insert until what is said becomes the
            answer; None where it is not known what is said, or nothing was to be transcribed.
        num_reference_words: Words of what is said; None in the same cases.
    """

    answer: str | None
    correct: bool
    legacy_answer: str | None
    legacy_correct: bool
    option_answer: str | None = None
    option_correct: bool = False
    num_word_edits: int | None = None
    num_reference_words: int | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One metric over one subset of the samples.

    Attributes:
        subset: `all`, or `<key>=<value>`.
        metric: Name of the metric.
        value: None is "not measured", never 0.
        ci_low: Lower end of the 95 % interval, or None where there is none.
        ci_high: Upper end.
        ci_method: How the interval was computed, or empty.
        stderr: Standard error, or None.
        total: Samples of the subset, failed and unparsed ones included.
        correct: Samples that count for the metric.
        unparsed: Replies from which no single answer could be read.
        errors: Samples that failed.
    """

    subset: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    ci_method: str
    stderr: float | None
    total: int
    correct: int | None
    unparsed: int
    errors: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run's numbers are good for, and why."""

    validity: ValidityName
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line: the word, then the reasons."""
        return f"{self.validity}: {'; '.join(self.reasons)}" if self.reasons else self.validity
