"""How far a mean may be from the truth when samples come in clusters, such as speakers' clips.

Samples of one speaker succeed and fail together, so they tell less than as many speakers would.
Whole speakers are what is resampled; each resample's mean is the ratio of its sum to its number
of samples, as that number varies between speakers. docs/measurements/statistics.md shows how
often the intervals hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from modeltest.metrics.block_bootstrap import NUM_RESAMPLES, expanded_alpha

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

MIN_CLUSTERS = 10
"""Fewer clusters do not show how far clusters differ."""
_SEED = 20240229
_MAX_DRAWS = 1 << 18
_FEW_OF_A_KIND = 8
_ROUNDING = 1e-12


def cluster_interval(
    values: Sequence[float], clusters: Sequence[str], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval of the mean of `values` over samples, whole clusters being resampled.

    Seeded, and blind to the order of the samples: the same samples give the same interval.

    Args:
        values: Of every sample: 0 or 1 for a share, or a paired difference.
        clusters: `clusters[i]` names the cluster (the speaker) of sample i.
        confidence: Share of intervals that cover the truth, between 0 and 1.

    Returns:
        Lower and upper end. None below `MIN_CLUSTERS` clusters, and where the clusters do not
        differ: no resample would tell more than the one value.

    Raises:
        ValueError: The sequences differ in length.
    """
    return totals_interval(*cluster_totals(values, clusters), confidence)


def cluster_standard_error(values: Sequence[float], clusters: Sequence[str]) -> float | None:
    """Standard error of the mean of `values` over samples that come in clusters.

    Returns:
        As `totals_standard_error`.

    Raises:
        ValueError: The sequences differ in length.
    """
    return totals_standard_error(*cluster_totals(values, clusters))


def cluster_totals(
    values: Sequence[float], clusters: Sequence[str] | Sequence[int]
) -> tuple[Floats, Floats]:
    """Sum of the values and number of samples of each cluster, shape `(clusters,)` each.

    Raises:
        ValueError: The sequences differ in length.
    """
    import numpy as np

    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values of {len(clusters)} clusters")
    places: dict[str | int, int] = {}
    place = np.fromiter(
        (places.setdefault(cluster, len(places)) for cluster in clusters), np.intp, len(clusters)
    )
    weights = np.asarray(values, dtype=np.float64)
    sums, counts = np.bincount(place, weights), np.bincount(place)
    return np.asarray(sums, np.float64), counts.astype(np.float64)


def totals_interval(
    sums: Sequence[float] | Floats,
    counts: Sequence[float] | Floats,
    confidence: float = 0.95,
    min_clusters: int = MIN_CLUSTERS,
) -> tuple[float, float] | None:
    """As `cluster_interval`, from the clusters' totals; also of a mean over several ratios.

    The interval is the bootstrap's BCa interval: bias-corrected, and accelerated by the
    skewness of the clusters' influence on the mean, without which intervals near 0 and 1 lie
    too far inside. Its tails are expanded for few clusters (`expanded_alpha`).

    Args:
        sums: Numerators of each cluster, shape `(clusters,)`, or `(clusters, ratios)`.
        counts: Denominators, same shape; clusters without any do not count.
        confidence: Share of intervals that cover the truth, between 0 and 1.
        min_clusters: Below so many there is no interval; at least 2.

    Source: Efron, "Better bootstrap confidence intervals", JASA 82 (1987); the acceleration
    from the empirical influence function, there (6.6).
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    kinds = _kinds(sums, counts)
    num_clusters, influence = int(kinds.frequency.sum()), _influence(kinds)
    if num_clusters < min_clusters or not _varies(influence, num_clusters):
        return None
    tops, bottoms = kinds.frequency @ kinds.tops, kinds.frequency @ kinds.bottoms
    value, means = _mean_of_ratios(tops, bottoms), _resampled(kinds)
    below = (np.mean(means < value) + np.mean(means <= value)) / 2
    bias = ndtri(np.clip(below, 1 / NUM_RESAMPLES, 1 - 1 / NUM_RESAMPLES))
    squares, cubes = kinds.frequency @ influence**2, kinds.frequency @ influence**3
    acceleration = cubes / (6 * squares**1.5)
    quantile = -ndtri(expanded_alpha(num_clusters, confidence) / 2)
    shifted = bias + np.array([-quantile, quantile])
    # The limit keeps the correction increasing where it would run past infinity.
    places = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 0.05))
    low, high = np.quantile(means, places)
    return float(low), float(high)


def totals_standard_error(
    sums: Sequence[float] | Floats, counts: Sequence[float] | Floats
) -> float | None:
    """Linearised standard error of a ratio of clusters' totals, or of a mean of such ratios.

    For one ratio sqrt(G / (G - 1) * sum((s_g - m n_g)^2)) / N: G clusters with sums s_g and
    n_g samples, N samples in all and the mean m.

    Args:
        sums: Numerators of each cluster, shape `(clusters,)`, or `(clusters, ratios)`.
        counts: Denominators, same shape; clusters without any do not count.

    Returns:
        None below two clusters.

    Source: Cochran, "Sampling Techniques", 3rd edition (1977), section 6.
    """
    kinds = _kinds(sums, counts)
    num_clusters = int(kinds.frequency.sum())
    if num_clusters < 2:
        return None
    squares = float(kinds.frequency @ _influence(kinds) ** 2)
    return math.sqrt(num_clusters / (num_clusters - 1) * squares)


class _Kinds(NamedTuple):
    """Clusters with equal totals told once, in an order that does not depend on theirs.

    Attributes:
        tops: Numerators, shape `(kinds, ratios)`.
        bottoms: Denominators, same shape.
        frequency: Clusters of each kind, shape `(kinds,)`.
    """

    tops: Floats
    bottoms: Floats
    frequency: NDArray[np.int64]


def _kinds(sums: Sequence[float] | Floats, counts: Sequence[float] | Floats) -> _Kinds:
    """The kinds of the clusters that have anything."""
    import numpy as np

    tops, bottoms = (np.asarray(each, dtype=np.float64) for each in (sums, counts))
    if tops.shape != bottoms.shape:
        raise ValueError(f"totals of shape {tops.shape} over counts of shape {bottoms.shape}")
    if tops.ndim == 1:
        tops, bottoms = tops[:, np.newaxis], bottoms[:, np.newaxis]
    has_any = bottoms.any(axis=1)
    rows = np.hstack([tops[has_any], bottoms[has_any]])
    distinct, frequency = np.unique(rows, axis=0, return_counts=True)
    num_ratios = tops.shape[1]
    return _Kinds(distinct[:, :num_ratios], distinct[:, num_ratios:], frequency)


def _mean_of_ratios(tops: Floats, bottoms: Floats) -> Floats:
    """Mean over the last axis; a ratio over nothing is left out."""
    import numpy as np

    known = bottoms > 0
    ratios = np.divide(tops, bottoms, out=np.zeros_like(tops), where=known)
    return np.asarray(ratios.sum(-1) / np.maximum(known.sum(-1), 1))


def _influence(kinds: _Kinds) -> Floats:
    """How far a cluster of each kind pulls the mean of ratios, shape `(kinds,)`.

    Over all clusters it adds up to 0.
    """
    import numpy as np

    tops, bottoms = kinds.frequency @ kinds.tops, kinds.frequency @ kinds.bottoms
    known = bottoms > 0
    tops, bottoms = tops[known], bottoms[known]
    pulls = (kinds.tops[:, known] - tops / bottoms * kinds.bottoms[:, known]) / bottoms
    return np.asarray(pulls.sum(1) / max(len(tops), 1))


def _varies(influence: Floats, num_clusters: int) -> bool:
    """Whether clusters differ by more than rounding."""
    return bool(len(influence) > 1 and abs(influence).max() * num_clusters > _ROUNDING)


def _resampled(kinds: _Kinds) -> Floats:
    """Means of `NUM_RESAMPLES` resamples of the clusters, shape `(NUM_RESAMPLES,)`.

    Drawing G clusters with replacement is drawing how often each kind comes, which does not
    grow with the number of clusters of a kind. With few clusters of each kind it is quicker to
    draw the clusters.
    """
    import numpy as np

    num_clusters, num_kinds = int(kinds.frequency.sum()), len(kinds.frequency)
    kind_of = np.repeat(np.arange(num_kinds), kinds.frequency)
    draws_clusters = num_clusters < _FEW_OF_A_KIND * num_kinds
    generator, means = np.random.default_rng(_SEED), []
    step = max(1, _MAX_DRAWS // (num_clusters if draws_clusters else num_kinds))
    for first in range(0, NUM_RESAMPLES, step):
        size = min(step, NUM_RESAMPLES - first)
        if draws_clusters:
            drawn_kinds = kind_of[
                generator.integers(num_clusters, size=(size, num_clusters), dtype=np.int32)
            ]
            drawn_kinds += num_kinds * np.arange(size)[:, np.newaxis]
            drawn = np.bincount(drawn_kinds.ravel(), minlength=size * num_kinds)
            drawn = drawn.reshape(size, num_kinds)
        else:
            drawn = generator.multinomial(num_clusters, kinds.frequency / num_clusters, size=size)
        means.append(_mean_of_ratios(drawn @ kinds.tops, drawn @ kinds.bottoms))
    return np.concatenate(means)
