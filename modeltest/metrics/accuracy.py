"""Shares of samples: accuracy by either answer rule, unparsed replies, failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modeltest.metrics.cluster_bootstrap import cluster_totals
from modeltest.metrics.intervals import Spread, share_spread
from modeltest.records import Aggregate, Score

Predicate = Callable[[Score, bool], bool]
"""Whether a sample counts, given its score and whether it failed."""


def _is_correct(score: Score, failed: bool) -> bool:
    return score.correct and not failed


def _is_correct_by_legacy_rule(score: Score, failed: bool) -> bool:
    return score.legacy_correct and not failed


def _is_correct_by_option_logits(score: Score, failed: bool) -> bool:
    return score.option_correct and not failed


def _is_unparsed(score: Score, failed: bool) -> bool:
    return score.answer is None and not failed


def _is_answered(score: Score, failed: bool) -> bool:
    return score.answer is not None and not failed


def _has_failed(_: Score, failed: bool) -> bool:
    return failed


def _any(_score: Score, _failed: bool) -> bool:
    return True


def _has_option_answer(score: Score, _: bool) -> bool:
    return score.option_answer is not None


def _has_reference(score: Score, _: bool) -> bool:
    return score.num_reference_words is not None


@dataclass(frozen=True, slots=True)
class ShareMetric:
    """The share of a subset's samples for which a predicate holds, with its interval.

    Attributes:
        name: Name in the `metric` column.
        counts: Whether a sample adds to the share.
        correct: Whether a sample adds to the `correct` column.
        can_count: Whether it could add to the share; where no sample could, there is no share.
    """

    name: str
    counts: Predicate
    correct: Predicate = _is_correct
    can_count: Predicate = _any

    def aggregate(
        self,
        subset: str,
        scores: Sequence[Score],
        errors: Sequence[bool],
        speakers: Sequence[int] | None = None,
    ) -> Aggregate:
        """The share over all of `scores`; failed and unparsed samples stay in `total`.

        Args:
            subset: Name of the subset.
            scores: Of every sample of the subset.
            errors: `errors[i]` says that sample i failed.
            speakers: `speakers[i]` is the speaker of sample i. The interval is then that of
                `share_spread`; without it each sample has a speaker of its own.

        Raises:
            ValueError: The sequences differ in length.
        """
        samples = list(zip(scores, errors, strict=True))
        counted = [self.counts(*sample) for sample in samples]
        spread, value = Spread(), None
        if any(self.can_count(*sample) for sample in samples):
            value = sum(counted) / len(samples)
            owners = range(len(samples)) if speakers is None else speakers
            spread = share_spread(*cluster_totals(counted, owners))
        return Aggregate(
            subset=subset,
            metric=self.name,
            value=value,
            ci_low=spread.low,
            ci_high=spread.high,
            ci_method=spread.method,
            stderr=spread.stderr,
            total=len(samples),
            correct=sum(self.correct(*sample) for sample in samples),
            unparsed=sum(_is_unparsed(*sample) for sample in samples),
            errors=sum(errors),
        )


ACCURACY = ShareMetric("acc", counts=_is_correct)
ACCURACY_LEGACY = ShareMetric(
    "acc_legacy", counts=_is_correct_by_legacy_rule, correct=_is_correct_by_legacy_rule
)
ACCURACY_OPTION_LOGITS = ShareMetric(
    "acc_option_logits",
    counts=_is_correct_by_option_logits,
    correct=_is_correct_by_option_logits,
    can_count=_has_option_answer,
)
"""By the option whose first token is likeliest, whatever the reply says."""
EXACT_MATCH = ShareMetric("exact_match", counts=_is_correct, can_count=_has_reference)
"""Replies whose words are those of the reference."""
ANSWERED_RATE = ShareMetric("answered_rate", counts=_is_answered)
"""Replies with at least one word."""
UNPARSED_RATE = ShareMetric("unparsed_rate", counts=_is_unparsed)
ERROR_RATE = ShareMetric("error_rate", counts=_has_failed)
