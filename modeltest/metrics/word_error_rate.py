"""How many words of what was said a model got wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modeltest.metrics.block_bootstrap import NUM_RESAMPLES, expanded_alpha
from modeltest.records import Aggregate, Score

_SEED = 20240229
_MIN_SAMPLES = 2
_MAX_DRAWS = 1 << 22


@dataclass(frozen=True, slots=True)
class WordErrorRate:
    """Words to edit over words that were said, summed over the samples (corpus WER).

    Not a share: replies with many words too many bring it above 1. Lower is better.

    Attributes:
        name: Name in the `metric` column.
    """

    name: str = "wer"

    def aggregate(self, subset: str, scores: Sequence[Score], errors: Sequence[bool]) -> Aggregate:
        """The rate over all samples of which it is known what is said; None without any.

        Args:
            subset: Name of the subset.
            scores: Of every sample of the subset. A failed one counts with all its words.
            errors: `errors[i]` says that sample i failed.

        Raises:
            ValueError: `scores` and `errors` differ in length.
        """
        samples = list(zip(scores, errors, strict=True))
        known = Counter(
            (score.num_word_edits or 0, score.num_reference_words)
            for score in scores
            if score.num_reference_words
        )
        pairs = np.array(sorted(known), dtype=np.float64).reshape(-1, 2)
        counts = np.array([known[pair] for pair in sorted(known)])
        num_edits, num_words = counts @ pairs if len(pairs) else (0.0, 0.0)
        resampled = _resampled_rates(pairs, counts) if counts.sum() >= _MIN_SAMPLES else None
        low, high = (None, None) if resampled is None else _interval(resampled, int(counts.sum()))
        return Aggregate(
            subset=subset,
            metric=self.name,
            value=float(num_edits / num_words) if num_words else None,
            ci_low=low,
            ci_high=high,
            ci_method="" if resampled is None else "bootstrap",
            stderr=None if resampled is None else float(resampled.std(ddof=1)),
            total=len(samples),
            correct=sum(score.correct and not failed for score, failed in samples),
            unparsed=sum(score.answer is None and not failed for score, failed in samples),
            errors=sum(errors),
        )


WORD_ERROR_RATE = WordErrorRate()


def _resampled_rates(pairs: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rates of `NUM_RESAMPLES` resamples of the samples, shape `(NUM_RESAMPLES,)`.

    Drawing n samples with replacement is drawing how often each distinct pair of edits and
    words comes, which depends neither on the samples' order nor much on their number.
    """
    generator = np.random.default_rng(_SEED)
    num_samples, rates = int(counts.sum()), []
    step = max(1, _MAX_DRAWS // len(counts))
    for first in range(0, NUM_RESAMPLES, step):
        size = min(step, NUM_RESAMPLES - first)
        drawn = generator.multinomial(num_samples, counts / num_samples, size=size)
        num_edits, num_words = (drawn @ pairs).T
        rates.append(num_edits / num_words)
    return np.concatenate(rates)


def _interval(rates: NDArray[np.float64], num_samples: int) -> tuple[float, float]:
    """The percentile interval, expanded for few samples."""
    tail = expanded_alpha(num_samples) / 2
    low, high = np.quantile(rates, [tail, 1 - tail])
    return float(low), float(high)
