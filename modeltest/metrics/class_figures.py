"""How well each class is told from the others: precision, recall, F1 and their means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modeltest.metrics.cluster_bootstrap import (
    MIN_CLUSTERS,
    totals_interval,
    totals_standard_error,
)
from modeltest.metrics.intervals import (
    BOOTSTRAP,
    BY_SPEAKER,
    Spread,
    share_spread,
    wilson_spread,
)
from modeltest.records import Aggregate, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MACRO_F1 = "macro_f1"
BALANCED_ACCURACY = "balanced_acc"
OF_ALL = (MACRO_F1, BALANCED_ACCURACY)
"""Figures of the subset `all`."""
OF_CLASS = ("precision", "recall", "f1")
"""Figures of the subset `class=…`."""


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How often each unit was asked for, was given and was given rightly each class.

    A unit is a speaker, or a sample where no speaker has several of them.

    Attributes:
        labels: The classes.
        hits: Right answers, shape `(units, classes)`, as the two below.
        truths: Samples of the class, failed and unparsed ones included.
        answers: Answers that name the class; a failed sample has none.
        unparsed: Replies without an answer by class of the sample, shape `(classes,)`.
        errors: Failed samples, likewise.
        by_speaker: Units are speakers.
    """

    labels: tuple[str, ...]
    hits: NDArray[np.float64]
    truths: NDArray[np.float64]
    answers: NDArray[np.float64]
    unparsed: NDArray[np.int64]
    errors: NDArray[np.int64]
    by_speaker: bool


def class_counts(
    truths: Sequence[str],
    scores: Sequence[Score],
    errors: Sequence[bool],
    speakers: Sequence[int],
    labels: Sequence[str],
) -> ClassCounts:
    """Counts truths, answers and hits.

    Args:
        truths: Label of every sample.
        scores: Of every sample.
        errors: `errors[i]` says that sample i failed, whatever its answer.
        speakers: `speakers[i]` is the speaker of sample i. Samples are the units where no
            speaker has several, and below `MIN_CLUSTERS` speakers.
        labels: Every label.

    Raises:
        ValueError: The sequences differ in length.
        KeyError: A truth or answer is no label.
    """
    import numpy as np

    place = {label: index for index, label in enumerate(labels)}
    num_samples = len(truths)
    if not num_samples == len(scores) == len(errors) == len(speakers):
        raise ValueError("truths, scores, errors and speakers of different numbers of samples")
    found, unit = np.unique(np.asarray(speakers, np.int64), return_inverse=True)
    by_speaker = MIN_CLUSTERS <= len(found) < num_samples
    unit = unit if by_speaker else np.arange(num_samples)
    truth = np.fromiter((place[each] for each in truths), np.int64, num_samples)
    failed = np.fromiter(errors, bool, num_samples)
    answers = (-1 if each.answer is None else place[each.answer] for each in scores)
    answer = np.where(failed, -1, np.fromiter(answers, np.int64, num_samples))
    shape = (len(found) if by_speaker else num_samples, len(place))

    def table(column: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        cells = np.bincount((unit * len(place) + column)[chosen], minlength=shape[0] * shape[1])
        return cells.reshape(shape).astype(np.float64)

    def per_class(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(truth[chosen], minlength=len(place))

    return ClassCounts(
        labels=tuple(labels),
        hits=table(truth, truth == answer),
        truths=table(truth, truth >= 0),
        answers=table(answer, answer >= 0),
        unparsed=per_class((answer < 0) & ~failed),
        errors=per_class(failed),
        by_speaker=by_speaker,
    )


def figures_of_all(counts: ClassCounts) -> Iterator[Aggregate]:
    """Macro-F1 and balanced accuracy: means over the classes of F1 and of recall.

    A class without a sample is left out of both, unless answers name it: then its F1 is 0.
    The definitions are scikit-learn's `f1_score(average="macro")`, an unparsed or failed sample
    having an answer that is no class, and `balanced_accuracy_score`.
    """
    f1_counts = counts.truths + counts.answers
    for name, all_tops, all_bottoms in (
        (MACRO_F1, 2 * counts.hits, f1_counts),
        (BALANCED_ACCURACY, counts.hits, counts.truths),
    ):
        known = all_bottoms.sum(0) > 0
        tops, bottoms = all_tops[:, known], all_bottoms[:, known]
        value = float((tops.sum(0) / bottoms.sum(0)).mean()) if known.any() else None
        spread = _ratio_spread(tops, bottoms, counts.by_speaker)
        if not spread.method and value is not None:
            spread = _equal_spread(value, counts)
        yield _aggregate("all", name, value, spread, counts, slice(None))


def figures_of_class(counts: ClassCounts, label: str) -> Iterator[Aggregate]:
    """Precision, recall and F1 of a class; without a denominator there is no figure.

    Unparsed and failed samples are misses: recall and F1 count them.
    """
    chosen = counts.labels.index(label)
    hits, truths, answers = (
        each[:, chosen] for each in (counts.hits, counts.truths, counts.answers)
    )
    f1 = _ratio_spread(2 * hits, truths + answers, counts.by_speaker)
    either = float((truths + answers - hits).sum())
    if not f1.method and either:
        f1 = _jaccard_spread(hits, truths + answers - hits, counts.by_speaker)
    for name, tops, bottoms, spread in (
        ("precision", hits, answers, share_spread(hits, answers)),
        ("recall", hits, truths, share_spread(hits, truths)),
        ("f1", 2 * hits, truths + answers, f1),
    ):
        total = float(bottoms.sum())
        value = float(tops.sum()) / total if total else None
        yield _aggregate(f"class={label}", name, value, spread, counts, chosen)


def _ratio_spread(
    tops: NDArray[np.float64], bottoms: NDArray[np.float64], by_speaker: bool
) -> Spread:
    interval = totals_interval(tops, bottoms)
    if interval is None:
        return Spread()
    stderr = totals_standard_error(tops, bottoms)
    return Spread(*interval, BY_SPEAKER if by_speaker else BOOTSTRAP, stderr)


def _equal_spread(value: float, counts: ClassCounts) -> Spread:
    """Of a mean over classes where nothing varies, as when all is right or all is wrong.

    Wilson's for the number of classes times the samples of the smallest one, since one more
    wrong sample of it would move the mean by the inverse of that. For classes of one size this
    is accuracy's interval.
    """
    if value not in (0, 1):
        return Spread()
    sizes = counts.truths.sum(0)
    sizes = sizes[sizes > 0]
    total = round(float(sizes.min())) * len(sizes)
    return wilson_spread(round(value) * total, total)


def _jaccard_spread(
    hits: NDArray[np.float64], either: NDArray[np.float64], by_speaker: bool
) -> Spread:
    """Of an F1 that cannot be resampled, by the share J = hits / (truths or answers).

    F1 = 2 J / (1 + J) grows with J, so the ends of J's interval become those of F1's.
    """
    share = share_spread(hits, either)
    if share.low is None or share.high is None:
        return Spread()
    low, high = (2 * each / (1 + each) for each in (share.low, share.high))
    return Spread(low, high, share.method)


def _aggregate(
    subset: str,
    metric: str,
    value: float | None,
    spread: Spread,
    counts: ClassCounts,
    chosen: int | slice,
) -> Aggregate:
    return Aggregate(
        subset=subset,
        metric=metric,
        value=value,
        ci_low=spread.low,
        ci_high=spread.high,
        ci_method=spread.method,
        stderr=spread.stderr,
        total=int(counts.truths[:, chosen].sum()),
        correct=int(counts.hits[:, chosen].sum()),
        unparsed=int(counts.unparsed[chosen].sum()),
        errors=int(counts.errors[chosen].sum()),
    )
