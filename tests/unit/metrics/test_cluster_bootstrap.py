"""The cluster bootstrap against scipy's BCa and statsmodels' clustered covariance."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import bootstrap

from modeltest.metrics.cluster_bootstrap import (
    MIN_CLUSTERS,
    cluster_interval,
    cluster_standard_error,
    totals_interval,
    totals_standard_error,
)


def clips(num_speakers: int, share: float = 0.9, seed: int = 3) -> tuple[list[float], list[str]]:
    """One to seven clips of each speaker, who differ in how often they are right."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 8, num_speakers)
    right = generator.beta(4 * share, 4 * (1 - share), num_speakers)
    values = np.concatenate(
        [generator.random(n) < p for n, p in zip(counts, right, strict=True)]
    ).astype(float)
    return values.tolist(), [f"s{speaker}" for speaker in np.repeat(range(num_speakers), counts)]


def totals(values: list[float], speakers: list[str]) -> tuple[np.ndarray, np.ndarray]:
    names = sorted(set(speakers))
    sums = [sum(v for v, s in zip(values, speakers, strict=True) if s == name) for name in names]
    return np.array(sums), np.array([speakers.count(name) for name in names], float)


def test_the_standard_error_by_hand() -> None:
    # Mean 1/2; the clusters' residuals are 1 and -1: sqrt(2/1 * (1 + 1)) / 4 = 1/2.
    assert cluster_standard_error([1, 1, 0, 0], ["a", "a", "b", "b"]) == pytest.approx(0.5)
    # Mean 3/4; residuals 2 - 3/4 * 2 = 1/2 and 1 - 3/4 * 2 = -1/2: sqrt(2 * 1/2) / 4 = 1/4.
    assert totals_standard_error([2, 1], [2, 2]) == pytest.approx(0.25)
    assert totals_standard_error([2, 1, 0], [2, 2, 0]) == pytest.approx(0.25)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_standard_error_is_statsmodels(share: float) -> None:
    values, speakers = clips(60, share)
    groups = np.unique(speakers, return_inverse=True)[1]
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert cluster_standard_error(values, speakers) == pytest.approx(fit.bse[0], rel=1e-9)


def test_one_sample_per_cluster_is_the_usual_standard_error() -> None:
    values = [1.0] * 30 + [0.0] * 10
    # sqrt(p (1 - p) / (n - 1)) of p = 3/4 and n = 40
    expected = np.sqrt(0.75 * 0.25 / 39)
    assert cluster_standard_error(values, [str(i) for i in range(40)]) == pytest.approx(expected)


@pytest.mark.parametrize(("share", "seed"), [(0.5, 1), (0.9, 2), (0.98, 4)])
def test_the_interval_is_scipys_bca_over_speakers(share: float, seed: int) -> None:
    values, speakers = clips(400, share, seed)
    sums, counts = totals(values, speakers)

    def mean(sums, counts, axis):
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    theirs = bootstrap(
        (sums, counts), mean, paired=True, method="BCa", n_resamples=8000, batch=500,
        random_state=np.random.default_rng(1),
    )  # fmt: skip
    low, high = theirs.confidence_interval
    found = cluster_interval(values, speakers)
    assert found is not None
    # Two bootstraps of 4000 and 8000 resamples; the expansion for 400 speakers is 0.2 %.
    assert found == pytest.approx((low, high), abs=0.06 * (high - low))


def test_a_mean_of_ratios_is_scipys_too() -> None:
    generator = np.random.default_rng(8)
    counts = generator.integers(0, 4, (300, 2)).astype(float)
    sums = generator.binomial(counts.astype(int), [0.9, 0.6]).astype(float)

    def mean(place, axis):
        tops, bottoms = sums[place].sum(axis=-2), counts[place].sum(axis=-2)
        return (tops / bottoms).mean(axis=-1)

    theirs = bootstrap(
        (np.arange(300),), mean, method="BCa", n_resamples=4000, batch=500, vectorized=True,
        random_state=np.random.default_rng(1),
    )  # fmt: skip
    low, high = theirs.confidence_interval
    assert totals_interval(sums, counts) == pytest.approx((low, high), abs=0.06 * (high - low))
    assert totals_standard_error(sums, counts) == pytest.approx(theirs.standard_error, rel=0.05)


def test_few_clusters_make_the_interval_wider_than_scipys() -> None:
    values, speakers = clips(12, 0.6)

    def mean(sums, counts, axis):
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    plain = bootstrap(
        totals(values, speakers), mean, paired=True, method="BCa",
        random_state=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    low, high = cluster_interval(values, speakers) or (0, 0)
    # Student's t of 11 degrees of freedom over the normal's quantile, times sqrt(12/11): 1.17.
    assert 1.05 < (high - low) / (plain.high - plain.low) < 1.3


def test_correlated_clips_make_it_wider_and_names_and_order_do_not_matter() -> None:
    values, speakers = clips(200, 0.8)
    found = cluster_interval(values, speakers)
    assert found is not None
    alone = cluster_interval(values, [str(i) for i in range(len(values))])
    assert alone is not None
    assert found[1] - found[0] > 1.2 * (alone[1] - alone[0])
    order = np.random.default_rng(1).permutation(len(values))
    shuffled = ([values[i] for i in order], [f"x{speakers[i]}" for i in order])
    assert cluster_interval(*shuffled) == found
    assert totals_interval(*totals(values, speakers)) == found


def test_a_smaller_confidence_is_narrower() -> None:
    samples = clips(50)
    low, high = cluster_interval(*samples, confidence=0.8) or (0, 1)
    wide_low, wide_high = cluster_interval(*samples, confidence=0.99) or (0, 0)
    assert wide_low < low < high < wide_high


def test_few_clusters_have_no_interval() -> None:
    sums, counts = [1.0, 2.0] * 5, [2.0] * 10
    assert MIN_CLUSTERS == 10
    assert totals_interval(sums, counts) is not None
    assert totals_interval(sums[1:], counts[1:]) is None
    assert totals_interval([*sums[1:], 0.0], [*counts[1:], 0.0]) is None
    assert totals_interval(sums[1:], counts[1:], min_clusters=2) is not None
    assert cluster_interval([], []) is None
    assert cluster_standard_error([], []) is None
    assert cluster_standard_error([1, 0], ["a", "a"]) is None


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_equal_clusters_have_no_interval_and_never_one_of_no_width(value: float) -> None:
    speakers = [f"s{i // 3}" for i in range(90)]
    assert cluster_interval([value] * 90, speakers) is None
    assert cluster_standard_error([value] * 90, speakers) == pytest.approx(0, abs=1e-12)


def test_values_and_clusters_belong_together() -> None:
    with pytest.raises(ValueError, match="2 values of 1 clusters"):
        cluster_interval([1, 0], ["a"])
    with pytest.raises(ValueError, match="shape"):
        totals_interval([1, 0], [1])


def test_a_paired_difference_stays_within_its_values() -> None:
    values, speakers = [-1.0, *[0.0] * 118, 1.0], [f"s{i // 6}" for i in range(120)]
    low, high = cluster_interval(values, speakers) or (-2, 2)
    assert -1 / 6 <= low < 0 < high <= 1 / 6


def test_memory_does_not_grow_with_resamples_times_clusters() -> None:
    generator = np.random.default_rng(2)
    sums = generator.random(4000)
    tracemalloc.start()
    try:
        interval = totals_interval(sums, np.ones(4000))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert interval is not None
    assert peak_bytes < 100e6  # all weights at once would be 4000 x 4000 x 8 bytes, twice
