"""The samples that two accuracy runs share, side by side."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from modeltest.errors import UsageError, one_line
from modeltest.runlog.run_log import RunContent

Record = Mapping[str, Any]
Change = Literal["regression", "improvement", "other_answer"]
"""Only A is right, only B is right, or both are wrong in different ways."""

CHANGES: tuple[Change, ...] = ("regression", "improvement", "other_answer")
_SPEAKER = "speaker"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one run says of a sample.

    Attributes:
        answer: The label that was read out of the reply, or None.
        text: The reply, as it is in the log.
        error: Why there is none, or empty.
        option_logits: Of the options, at the reply's first token; empty where the backend gives
            none.
    """

    answer: str | None
    text: str
    error: str
    option_logits: tuple[float, ...]

    @property
    def option_margin(self) -> float | None:
        """By how much the highest logit is above the second; a small one turns over easily."""
        highest = sorted(self.option_logits, reverse=True)[:2]
        return highest[0] - highest[1] if len(highest) == 2 else None


@dataclass(frozen=True, slots=True)
class ChangedSample:
    """A sample of which the two runs do not say the same.

    Attributes:
        change: What became of it.
        index: Its place in the task's order.
        sample_id: Of the sample.
        clips: Records of its clips, as A logged them.
        truth: The right label.
        metadata: What is known of it: speaker, gender, ….
        subsets: Those of the task's that it belongs to.
        first: What A says.
        second: What B says.
    """

    change: Change
    index: int
    sample_id: str
    clips: tuple[Record, ...]
    truth: str
    metadata: Mapping[str, str]
    subsets: tuple[str, ...]
    first: Reply
    second: Reply

    @property
    def is_flip(self) -> bool:
        """Whether just one of the runs is right."""
        return self.change != "other_answer"


@dataclass(slots=True)
class Pairs:
    """Samples of both runs, in the task's order.

    Attributes:
        correct: Of A and of B, 1 for each sample on which it is right, else 0.
        unparsed: Of A and of B, replies without a single answer.
        errors: Of A and of B, samples that failed.
        speakers: Of each sample; one of its own where none is known.
        num_without_speaker: Samples of which none is known.
        places: Per subset of the task, which of the samples belong to it.
        changed: What the runs do not say alike; regressions first, then improvements.
        num_same_replies: Samples with the same reply, letter by letter, failures apart.
    """

    correct: tuple[array[int], array[int]] = field(default_factory=lambda: (array("b"), array("b")))
    unparsed: list[int] = field(default_factory=lambda: [0, 0])
    errors: list[int] = field(default_factory=lambda: [0, 0])
    speakers: list[str] = field(default_factory=list)
    num_without_speaker: int = 0
    places: dict[str, array[int]] = field(default_factory=dict)
    changed: list[ChangedSample] = field(default_factory=list)
    num_same_replies: int = 0

    def __len__(self) -> int:
        """How many samples both runs evaluated."""
        return len(self.speakers)

    def add(self, first: Record, second: Record) -> None:
        """Takes note of one sample."""
        place = len(self)
        for subset in dict.fromkeys(first["subsets"]):
            self.places.setdefault(subset, array("l")).append(place)
        speaker = first["metadata"].get(_SPEAKER)
        self.num_without_speaker += not speaker
        self.speakers.append(speaker or f"\0{place}")
        for side, record in enumerate((first, second)):
            failed = bool(record["response"]["error"])
            self.correct[side].append(_is_right(record))
            self.errors[side] += failed
            self.unparsed[side] += record["score"]["answer"] is None and not failed
        a, b = first["response"], second["response"]
        self.num_same_replies += a["text"] == b["text"] and not (a["error"] or b["error"])
        if change := _change(first, second):
            self.changed.append(_changed(change, first, second))


def pair_up(first: RunContent, second: RunContent) -> Pairs:
    """Joins two runs by their samples' place, name, audio and truth.

    Raises:
        UsageError: They share no sample, or one is not the same in both.
    """
    pairs = Pairs()
    for a, b in _both(first.samples, second.samples):
        _refuse_another(a, b)
        pairs.add(a, b)
    if not len(pairs):
        raise UsageError("the two runs have no evaluated sample in common")
    pairs.changed.sort(key=lambda sample: (CHANGES.index(sample.change), sample.index))
    return pairs


def _both(first: Sequence[Record], second: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Records of the same place in the task; both come in its order."""
    others = iter(second)
    other = next(others, None)
    for record in first:
        while other is not None and other["index"] < record["index"]:
            other = next(others, None)
        if other is None:
            return
        if other["index"] == record["index"]:
            yield record, other


def _refuse_another(first: Record, second: Record) -> None:
    parts = (
        ("sample", first["sample_id"], second["sample_id"]),
        ("truth", first["truth"], second["truth"]),
        ("audio", *(" ".join(c["sha256"][:12] for c in r["clips"]) for r in (first, second))),
    )
    found = [f"{name}: A has {a}, B has {b}" for name, a, b in parts if a != b]
    if found:
        raise UsageError(
            one_line(
                f"these runs cannot be compared, sample {first['index'] + 1} is not the same in "
                f"both: {'; '.join(found)}"
            )
        )


def _is_right(record: Record) -> bool:
    return record["score"]["correct"] and not record["response"]["error"]


def _change(first: Record, second: Record) -> Change | None:
    before, after = _is_right(first), _is_right(second)
    if before != after:
        return "regression" if before else "improvement"
    same = first["score"]["answer"] == second["score"]["answer"]
    return None if same or before else "other_answer"


def _changed(change: Change, first: Record, second: Record) -> ChangedSample:
    return ChangedSample(
        change=change,
        index=first["index"],
        sample_id=first["sample_id"],
        clips=tuple(first["clips"]),
        truth=first["truth"],
        metadata=first["metadata"],
        subsets=tuple(first["subsets"]),
        first=_reply(first),
        second=_reply(second),
    )


def _reply(record: Record) -> Reply:
    response = record["response"]
    return Reply(
        answer=record["score"]["answer"],
        text=response["text"],
        error=response["error"],
        option_logits=tuple(response.get("option_logits", ())),
    )
