"""How many words of what was said a model got wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modeltest.metrics.cluster_bootstrap import (
    MIN_CLUSTERS,
    cluster_totals,
    totals_interval,
    totals_standard_error,
)
from modeltest.metrics.intervals import BOOTSTRAP, BY_SPEAKER, Spread
from modeltest.records import Aggregate, Score

_MIN_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class WordErrorRate:
    """Words to edit over words that were said, summed over the samples (corpus WER).

    Not a share: replies with many words too many bring it above 1. Lower is better.

    Attributes:
        name: Name in the `metric` column.
    """

    name: str = "wer"

    def aggregate(
        self,
        subset: str,
        scores: Sequence[Score],
        errors: Sequence[bool],
        speakers: Sequence[int] | None = None,
    ) -> Aggregate:
        """The rate over all samples of which it is known what is said; None without any.

        Args:
            subset: Name of the subset.
            scores: Of every sample of the subset. A failed one counts with all its words.
            errors: `errors[i]` says that sample i failed.
            speakers: `speakers[i]` is the speaker of sample i; where speakers have several
                samples, whole speakers are resampled.

        Raises:
            ValueError: The sequences differ in length.
        """
        samples = list(zip(scores, errors, strict=True))
        owners = range(len(samples)) if speakers is None else speakers
        known = [
            (score.num_word_edits or 0, score.num_reference_words, owner)
            for score, owner in zip(scores, owners, strict=True)
            if score.num_reference_words
        ]
        num_edits, num_words = sum(each[0] for each in known), sum(each[1] for each in known)
        spread = _spread(known)
        return Aggregate(
            subset=subset,
            metric=self.name,
            value=num_edits / num_words if num_words else None,
            ci_low=spread.low,
            ci_high=spread.high,
            ci_method=spread.method,
            stderr=spread.stderr,
            total=len(samples),
            correct=sum(score.correct and not failed for score, failed in samples),
            unparsed=sum(score.answer is None and not failed for score, failed in samples),
            errors=sum(errors),
        )


WORD_ERROR_RATE = WordErrorRate()


def _spread(known: Sequence[tuple[int, int, int]]) -> Spread:
    """Of triples of edits, words and speaker; a rate of 0 everywhere has no interval."""
    owners = [owner for _, _, owner in known]
    num_edits, num_samples = cluster_totals([edits for edits, _, _ in known], owners)
    num_words, _ = cluster_totals([words for _, words, _ in known], owners)
    by_speaker = len(num_samples) >= MIN_CLUSTERS and num_samples.max() > 1
    if not by_speaker:
        num_edits, num_words = (np.array([each[i] for each in known], float) for i in (0, 1))
    interval = totals_interval(num_edits, num_words, min_clusters=_MIN_SAMPLES)
    if interval is None:
        return Spread()
    method = BY_SPEAKER if by_speaker else BOOTSTRAP
    return Spread(*interval, method, totals_standard_error(num_edits, num_words))
