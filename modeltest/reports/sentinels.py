"""Whether a run's replies can be replies to its clips, judged from its log.

A model that hears nothing, clips mixed up within a batch, and a model that says the same to
everything leave a finished run with a number. docs/sentinels.md has the thresholds with the
arithmetic behind them. What cannot be judged is said; nothing here ever says "ok".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from modeltest.errors import one_line
from modeltest.metrics.edit_distance import edit_distance_share
from modeltest.reports.collapse import MIN_SAMPLES, Replies
from modeltest.runlog.probes import ALONE, SILENCED, Probe, logged_probes, planned_probes
from modeltest.runlog.run_log import RunContent

MIN_PROBES = 4
MAX_SHOWN = 100

NOISE_FACTOR = 4
"""Option logits that moved by so many times what asking again moves them were not moved by it."""

MIN_HEARD = 0.001
MIN_FAR = 0.5
"""Least of such moves: of silence in fp32, and of another clip in bf16, where numbers between 16
and 32 are 0.125 apart."""

MAX_CHANCE = 0.01
CONSTANT_SHARE = 0.95
MIN_FAR_PROBES = 2
MIN_OTHER_ANSWERS, OTHER_ANSWERS_SHARE = 4, 0.2
MAX_TEXT_DISTANCE = 0.25
"""Letters to change over the letters of both texts; beyond it a transcript is another one."""
MAX_COMPARED = 10_000


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply in the log: to a sample, or to a probe."""

    text: str
    answer: str | None
    logits: tuple[float, ...]

    def moved_from(self, other: _Reply) -> float | None:
        """The largest change of an option's logit, level aside; None where one has none."""
        if not self.logits or len(self.logits) != len(other.logits):
            return None
        ours, theirs = (sum(each.logits) / len(each.logits) for each in (self, other))
        pairs = zip(self.logits, other.logits, strict=True)
        return max(abs((a - ours) - (b - theirs)) for a, b in pairs)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A sample's reply in the log, and that to the probe."""

    logged: _Reply
    probe: _Reply

    @property
    def moved(self) -> float | None:
        """How far the option logits are apart; None where there are none."""
        return self.probe.moved_from(self.logged)


class Sentinels:
    """Judges one run: give it every sample record, then ask."""

    def __init__(self, run: RunContent) -> None:
        """Takes probes and plan; a run of before there were probes is not judged."""
        self._is_judged = "probes" in run.manifest
        self._planned = planned_probes(run.manifest)
        self._probes = logged_probes(run.manifest, run.probes)
        self._has_labels = bool(run.manifest["labels"])
        self._indices = {index for _, index in self._planned}
        self._samples: dict[int, Mapping[str, Any]] = {}
        self._replies = Replies(run.manifest["labels"])
        silenced = (self._probes[probe] for probe in self._probes if probe[0] == SILENCED)
        self._num_with_text = Counter({record["text"]: 0 for record in silenced})

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes a sample record."""
        if not self._is_judged:
            return
        if record["index"] in self._indices:
            self._samples[record["index"]] = record
        if not record["response"]["error"]:
            self._replies.add(record)
            if (text := record["response"]["text"]) in self._num_with_text:
                self._num_with_text[text] += 1

    @property
    def missing(self) -> str:
        """What of a run with all its samples is still to be asked, in words; or empty."""
        num = len(self._planned) - len(self._probes)
        return f"{num} of {len(self._planned)} probes were not asked" if num else ""

    def problems(self) -> list[str]:
        """Why the replies cannot be taken for replies to the clips."""
        if not self._is_judged:
            return []
        alone, silenced = self._pairs(ALONE), self._pairs(SILENCED)
        mixed_up = self._mixed_up(alone)
        noise = 0.0 if mixed_up else self._noise(alone)
        found = [*self._replies.problems(), self._not_heard(silenced, noise), mixed_up]
        return [problem for problem in found if problem]

    def notes(self) -> list[str]:
        """What could not be judged, and why."""
        if not self._is_judged or len(self._probes) < len(self._planned):
            return []
        found = [
            f"{what} ({reason})"
            for kind, what in (
                (SILENCED, "whether the audio was heard"),
                (ALONE, "whether replies belong to their clips"),
            )
            if (reason := self._why_too_few(kind))
        ]
        if (num := self._replies.num) < MIN_SAMPLES:
            found.append(f"whether replies collapsed ({num} replies, {MIN_SAMPLES} needed)")
        return [f"not checked: {'; '.join(found)}"] if found else []

    def _why_too_few(self, kind: str) -> str:
        num = len(self._pairs(kind))
        if num >= MIN_PROBES:
            return ""
        records = (record for probe, record in self._probes.items() if probe[0] == kind)
        failures = sorted({record["error"] for record in records if record["error"]})
        shown = [one_line(failure[:MAX_SHOWN]) for failure in failures[:1]]
        return ": ".join([f"{num} probes, {MIN_PROBES} needed", *shown])

    def _pairs(self, kind: str) -> list[_Pair]:
        """The probes of a kind to which sample and probe have a reply."""
        return [
            _Pair(_reply_of_sample(sample), _reply_of_probe(record))
            for probe, record in self._probes.items()
            if probe[0] == kind
            and not record["error"]
            and (sample := self._sample_of(probe, record)) is not None
        ]

    def _sample_of(self, probe: Probe, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        sample = self._samples.get(probe[1])
        if sample is None or sample["response"]["error"]:
            return None
        return sample if sample["sample_id"] == record["sample_id"] else None

    def _is_same(self, pair: _Pair) -> bool:
        """Whether two replies to a clip give one answer."""
        if self._has_labels:
            return pair.logged.answer == pair.probe.answer
        logged, again = ((each.answer or "")[:MAX_COMPARED] for each in (pair.logged, pair.probe))
        return edit_distance_share(logged, again) <= MAX_TEXT_DISTANCE

    def _noise(self, alone: Sequence[_Pair]) -> float:
        """How far option logits move when a clip is asked again and the answer stays."""
        moves = [pair.moved for pair in alone if self._is_same(pair)]
        return float(median(found)) if (found := [m for m in moves if m is not None]) else 0.0

    def _mixed_up(self, alone: Sequence[_Pair]) -> str:
        if len(alone) < MIN_PROBES:
            return ""
        others = [pair for pair in alone if not self._is_same(pair)]
        least = max(MIN_FAR, NOISE_FACTOR * self._noise(alone))
        num_far = sum(pair.moved is not None and pair.moved > least for pair in others)
        enough = max(MIN_OTHER_ANSWERS, math.ceil(OTHER_ANSWERS_SHARE * len(alone)))
        if num_far < MIN_FAR_PROBES and len(others) < enough:
            return ""
        return (
            "replies do not belong to their clips, or depend on the batch: "
            f"{len(others)} of {len(alone)} clips get another answer when asked alone"
        )

    def _not_heard(self, silenced: Sequence[_Pair], noise: float) -> str:
        if len(silenced) < MIN_PROBES:
            return ""
        most = max(MIN_HEARD, NOISE_FACTOR * noise)
        for pair in silenced:
            if pair.probe.text != pair.logged.text or (pair.moved or 0.0) > most:
                return ""
        if any(pair.moved is None for pair in silenced) and not self._says_something(silenced):
            return ""
        num = len(silenced)
        return (
            f"the audio was not heard: {num} of {num} replies stay the same with silence in "
            "place of the clip"
        )

    def _says_something(self, silenced: Sequence[_Pair]) -> bool:
        """Whether texts that stay the same tell anything.

        A model that hears and prefers one reply may well give it to silence and to all these
        clips. That is ruled out where it is too unlikely, given how often each reply is in the
        log, or where hardly another reply is there.
        """
        num = max(self._replies.num, 1)
        shares = [self._num_with_text[pair.logged.text] / num for pair in silenced]
        return math.prod(shares) < MAX_CHANCE or min(shares) >= CONSTANT_SHARE


def _reply_of_sample(record: Mapping[str, Any]) -> _Reply:
    response = record["response"]
    logits = _numbers(response.get("option_logits", []))
    return _Reply(response["text"], record["score"]["answer"], logits)


def _reply_of_probe(record: Mapping[str, Any]) -> _Reply:
    return _Reply(record["text"], record["answer"], _numbers(record["option_logits"]))


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    """Logits; none where a number is beyond what a float can hold, which modeltest never writes."""
    return tuple(values) if all(type(value) is float for value in values) else ()
