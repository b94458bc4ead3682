"""What the samples of a run come to, in one pass and little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from modeltest.metrics.confusion import Confusion, confusion
from modeltest.records import Score
from modeltest.reports.clip_notes import ClipNotes

AGE = "age"


class Outcomes(NamedTuple):
    """The scored samples of one subset.

    Attributes:
        truths: Label of each sample; empty where an answer is any text.
        scores: Of each sample.
        errors: Whether each failed.
        speakers: Number of each sample's speaker. A sample of which none is known has one of
            its own.
    """

    truths: list[str]
    scores: list[Score]
    errors: list[bool]
    speakers: array[int]


@dataclass(slots=True)
class Tally:
    """What the samples come to, some 50 bytes for each.

    Attributes:
        has_labels: An answer is one of few labels; else any text, of which none is kept.
        outcomes: Each truth and score with or without a failure, once.
        outcome_of: Of each sample its place in `outcomes`.
        speakers: Number of each speaker.
        speaker_of: Of each sample its speaker's number; negative and unique where unknown.
        members: By subset the places of its samples.
        heard_s: What the model heard of each clip, seconds.
        num_cut: Samples that were cut to what the model hears.
        clip_notes: What else was noted of clips.
        has_option_logits: The backend gave the options' logits.
    """

    has_labels: bool
    outcomes: dict[tuple[str, Score, bool], int] = field(default_factory=dict)
    outcome_of: array[int] = field(default_factory=lambda: array("q"))
    speakers: dict[str, int] = field(default_factory=dict)
    speaker_of: array[int] = field(default_factory=lambda: array("q"))
    members: dict[str, array[int]] = field(default_factory=dict)
    heard_s: array[float] = field(default_factory=lambda: array("d"))
    num_cut: int = 0
    clip_notes: ClipNotes = field(default_factory=ClipNotes)
    has_option_logits: bool = False

    def add(self, place: int, record: Mapping[str, Any]) -> None:
        """Counts one sample, the next after those before."""
        score, has_failed = Score(**record["score"]), bool(record["response"]["error"])
        if not self.has_labels and score.answer is not None:
            score = replace(score, answer="")
        outcome = (record["truth"] if self.has_labels else "", score, has_failed)
        self.outcome_of.append(self.outcomes.setdefault(outcome, len(self.outcomes)))
        speaker = record["metadata"].get("speaker", "")
        number = self.speakers.setdefault(speaker, len(self.speakers)) if speaker else ~place
        self.speaker_of.append(number)
        for subset in dict.fromkeys(record["subsets"]):
            self.members.setdefault(subset, array("q")).append(place)
        self.heard_s.extend(clip["heard_s"] for clip in record["clips"])
        self.num_cut += any("truncated" in clip["note"] for clip in record["clips"])
        self.clip_notes.add(record["clips"])
        self.has_option_logits |= bool(record["response"].get("option_logits"))

    def chosen(self, places: Iterable[int]) -> Outcomes:
        """The outcomes of these samples."""
        distinct, owners = list(self.outcomes), self.speaker_of
        places = list(places)
        found = [distinct[self.outcome_of[place]] for place in places]
        return Outcomes(
            [truth for truth, _, _ in found],
            [score for _, score, _ in found],
            [has_failed for _, _, has_failed in found],
            array("q", (owners[place] for place in places)),
        )

    @property
    def all(self) -> Outcomes:
        """The outcomes of all samples."""
        return self.chosen(range(len(self.outcome_of)))

    def subsets(self, manifest: Mapping[str, Any]) -> Iterator[tuple[str, Outcomes]]:
        """The outcomes of all samples, of the classes in order, then of the other slices."""
        yield "all", self.all
        classes = [f"class={label}" for label in manifest["labels"]]
        for name in (*classes, *self._slice_names(manifest, classes)):
            yield name, self.chosen(self.members.get(name, ()))

    def slices(self, manifest: Mapping[str, Any]) -> dict[str, dict[str, Sequence[int]]]:
        """By slice key and value the places of the samples; classes are no slices."""
        classes = [f"class={label}" for label in manifest["labels"]]
        found: dict[str, dict[str, Sequence[int]]] = {}
        for name in self._slice_names(manifest, classes):
            key, _, value = name.partition("=")
            found.setdefault(key, {})[value] = self.members[name]
        return found

    def _slice_names(self, manifest: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
        order = [str(key) for key in manifest["task"]["settings"]["slices"]["by"]] + [AGE]
        return sorted(
            self.members.keys() - {"all", *classes},
            key=lambda name: (order.index(name.partition("=")[0]), name),
        )

    def confusion(self, labels: Sequence[str]) -> Confusion:
        """Truth against answer."""
        truths, scores, errors, _ = self.all
        return confusion(truths, [score.answer for score in scores], errors, labels)

    @property
    def notes(self) -> list[str]:
        """What nobody should read the numbers without."""
        cut = [f"{self.num_cut} samples were cut to what the model hears"] if self.num_cut else []
        return [*cut, *self.clip_notes.lines()]
