"""Whether a model's replies collapsed into one answer, one text, repetition or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from modeltest.errors import one_line

MIN_SAMPLES = 12
MAX_CLASS_SHARE = 0.8
MAX_TRUTH_SHARE = 0.5
LEAST_OTHERS = 0.25
"""Other answers than the commonest one, over other truths; with less of them it swallows them."""

MAX_BAD_SHARE = 0.1
MIN_BAD = 3

_MAX_LOOKED_AT = 1000
_MAX_UNIT = 80
_MIN_MARKS = 4
_MIN_REPEATS, _MIN_REPEATS_SHORT, _SHORT_LETTERS = 5, 15, 2
_MAX_SHOWN = 40


class Replies:
    """What the replies of a run come to, whatever their number; failed samples are left out.

    Attributes:
        num: Replies so far.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Holds nothing yet.

        Args:
            labels: What can be right; none where any text may be.
        """
        self.num = 0
        self._has_labels = bool(labels)
        self._answers: Counter[str] = Counter()
        self._truths: Counter[str] = Counter()
        self._first_text: str | None = None
        self._first_truth = ""
        self._has_other_text = self._has_other_truth = False
        self._num_empty = self._num_looping = self._num_to_say = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes the record of a sample that has a reply."""
        text, truth = record["response"]["text"], record["truth"]
        self.num += 1
        if self._first_text is None:
            self._first_text, self._first_truth = text, truth
        self._has_other_text |= text != self._first_text
        self._has_other_truth |= truth != self._first_truth
        if self._has_labels:
            self._truths[truth] += bool(truth)
            if (answer := record["score"]["answer"]) is not None:
                self._answers[answer] += 1
        self._num_looping += is_looping(text) and not is_looping(truth)
        if truth or self._has_labels:  # else silence may be what there is to transcribe
            self._num_to_say += 1
            self._num_empty += not text.strip()

    def problems(self) -> Iterator[str]:
        """In which ways they collapsed."""
        if self.num < MIN_SAMPLES:
            return
        if self._is_one_text():
            text = one_line(self._first_text or "")
            shown = text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
            yield f"all {self.num} replies are the same: '{shown}'"
        elif share := self._dominant_share():
            yield f"the replies collapsed: {share}"
        if self._is_too_many(self._num_looping, self.num):
            yield f"{self._num_looping} of {self.num} replies repeat one piece of text"
        if self._is_too_many(self._num_empty, self._num_to_say):
            yield f"{self._num_empty} of {self._num_to_say} replies are empty"

    def _is_one_text(self) -> bool:
        if self._has_other_text:
            return False
        return self._has_spread_truths() if self._has_labels else self._has_other_truth

    def _dominant_share(self) -> str:
        """The commonest answer with its shares, where it swallows the others; or empty."""
        num_parsed = self._answers.total()
        if num_parsed < MIN_SAMPLES or not self._has_spread_truths():
            return ""
        label, count = self._answers.most_common(1)[0]
        num_truths, known = self._truths[label], self._truths.total()
        # Multiplied out, so that no rounding decides.
        left = (num_parsed - count) * known < LEAST_OTHERS * (known - num_truths) * num_parsed
        if count <= MAX_CLASS_SHARE * num_parsed or not left:
            return ""
        name, share = one_line(label), num_truths / known
        return f"{name} is {count} of {num_parsed} answers, and {share:.0%} of the truths"

    def _has_spread_truths(self) -> bool:
        """Whether no class holds so much of the truths that one answer could be right for most."""
        known = self._truths.total()
        return known >= MIN_SAMPLES and max(self._truths.values()) <= MAX_TRUTH_SHARE * known

    @staticmethod
    def _is_too_many(num: int, of: int) -> bool:
        return num >= MIN_BAD and num > MAX_BAD_SHARE * of


def is_looping(text: str) -> bool:
    """Whether a text is one piece over and over ("the the the …"), or marks alone ("!!!!").

    A loop goes on to the end of the reply, so it is looked for there.
    """
    return _is_looping(text[-_MAX_LOOKED_AT:].strip())


@lru_cache(maxsize=1024)
def _is_looping(text: str) -> bool:
    if len(text) < _MIN_MARKS:
        return False
    if not any(map(str.isalnum, text)):
        return True
    for length in range(1, min(_MAX_UNIT, len(text) // 2) + 1):
        if text[-1 - length] != text[-1]:  # a hundred thousand transcripts are looked at
            continue
        repeated = length + _length_of_same(text, text[:-length])
        if repeated >= 2 * length and 2 * repeated >= len(text):
            unit = text[-length:]
            # What is short repeats in laughter ("hahaha", "哈哈哈"), in numbers and in spelling.
            is_short = sum(map(str.isalnum, unit)) <= _SHORT_LETTERS
            return repeated > (_MIN_REPEATS_SHORT if is_short else _MIN_REPEATS) * length
    return False


def _length_of_same(first: str, second: str) -> int:
    """How many characters two texts have in common at their ends."""
    num = 0
    for ours, theirs in zip(reversed(first), reversed(second), strict=False):
        if ours != theirs:
            break
        num += 1
    return num
