"""Dealing clusters out by chance, against scipy's permutation test over all dealings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from modeltest.metrics.permutation import Groups, chance_of


def welch(first, second, axis=-1):
    """t of means over clusters of equal size, by numpy's own variances."""
    num = first.shape[axis] + second.shape[axis]
    spread = sum(part.var(axis) / part.shape[axis] for part in (first, second))
    difference = first.mean(axis) - second.mean(axis)
    return difference / np.sqrt(spread * num / (num - 1))


def ratio_t(first, second, axis=-1):
    """t of means over samples, of clusters of unlike sizes: 10 * right + samples each."""
    found = []
    for part in (first, second):
        right, samples = np.divmod(part, 10)
        mean = right.sum(axis, keepdims=True) / samples.sum(axis, keepdims=True)
        pull = (right - mean * samples) / samples.sum(axis, keepdims=True)
        found.append((np.squeeze(mean, axis), (pull**2).sum(axis)))
    num = first.shape[axis] + second.shape[axis]
    (mean, spread), (other_mean, other_spread) = found
    return (mean - other_mean) / np.sqrt((spread + other_spread) * num / (num - 1))


def every_dealing(first, second, statistic):
    """scipy's p-value, twice the smaller tail's, and the statistic of each dealing."""
    found = permutation_test(
        (first, second), statistic, vectorized=True, n_resamples=np.inf, batch=20_000
    )
    return found.statistic, found.pvalue, found.null_distribution


def within_noise(p_value, exact, num_dealt=9_999):
    """Four standard errors of a share of so many dealings, doubled like the p-value."""
    return abs(p_value - exact) <= 8 * math.sqrt(exact / 2 * (1 - exact / 2) / num_dealt) + 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_it_is_scipys_of_means_of_speakers(seed):
    generator = np.random.default_rng(seed)
    first = generator.binomial(6, [0.7, 0.8, 0.95, 0.99][seed], 8).astype(float)
    second = generator.binomial(6, 0.6, 9).astype(float)  # 24,310 dealings
    t, exact, null = every_dealing(first, second, welch)
    found = chance_of(t, Groups(np.append(first, second), np.full(17, 6.0), 8))
    assert within_noise(found.p_value, exact)
    shares = [(null < found.low - 1e-9).mean(), (null > found.high + 1e-9).mean()]
    assert max(shares) < 0.025 + 0.006
    assert (null <= found.low + 1e-9).mean() > 0.025 - 0.006
    assert (null >= found.high - 1e-9).mean() > 0.025 - 0.006


@pytest.mark.parametrize("num_first", [7, 10])
def test_speakers_may_have_unlike_numbers_of_clips(num_first):
    generator = np.random.default_rng(num_first)
    counts = generator.integers(1, 10, 17)
    sums = generator.binomial(counts, 0.8)
    coded = 10 * sums + counts
    t, exact, _ = every_dealing(coded[:num_first], coded[num_first:], ratio_t)
    found = chance_of(float(t), Groups(sums.astype(float), counts.astype(float), num_first))
    assert within_noise(found.p_value, exact, 7_000)


def groups_of(first, second, clips=6.0):
    sums = np.array([*first, *second], float)
    return Groups(sums, np.full(len(sums), clips), len(first))


def test_the_order_of_the_clusters_does_not_matter():
    generator = np.random.default_rng(3)
    first, second = generator.binomial(6, 0.8, 30), generator.binomial(6, 0.9, 50)
    expected = chance_of(1.5, groups_of(first, second))
    for _ in range(5):
        shuffled = generator.permutation(first), generator.permutation(second)
        assert chance_of(1.5, groups_of(*shuffled)) == expected


@pytest.mark.parametrize("sizes", [(20, 60), (60, 20)])
def test_the_other_way_round_it_is_the_mirror_image(sizes):
    generator = np.random.default_rng(4)
    first, second = (generator.binomial(6, 0.9, size) for size in sizes)
    one = chance_of(1.2, groups_of(first, second))
    other = chance_of(-1.2, groups_of(second, first))
    assert (other.low, other.high) == (-one.high, -one.low)
    assert other.p_value == one.p_value


def test_below_5_percent_is_beyond_an_end_and_nothing_else():
    generator = np.random.default_rng(5)
    for seed in range(40):
        first, second = generator.binomial(6, 0.9, 12), generator.binomial(6, 0.9, 40)
        groups = groups_of(first, second)
        ends = chance_of(0.0, groups)
        for t in (generator.normal(0, 2), ends.low, ends.high, 2.2, -2.2):
            found = chance_of(t, groups)
            assert (found.p_value < 0.05) == (not found.low <= t <= found.high), seed


def test_no_p_value_is_0_and_more_tests_allow_for_smaller_ones():
    generator = np.random.default_rng(6)
    groups = groups_of(generator.binomial(6, 0.9, 100), generator.binomial(6, 0.9, 100))
    assert chance_of(50.0, groups).p_value == pytest.approx(2 / 10_000)
    assert chance_of(50.0, groups, num_tests=500).p_value == pytest.approx(2 / 50_000)


@pytest.mark.parametrize(("erring_is_first", "exact"), [(True, 10 / 550), (False, 1.0)])
def test_where_one_of_all_errs_the_interval_still_holds_the_difference(erring_is_first, exact):
    # 1 of 550 errs: chance makes it one of the ten in 1.8 % of the dealings, so that the lower
    # 2.5 % do not reach below 0.
    sums = [6] * 550
    sums[0 if erring_is_first else -1] = 5
    # By hand: of the G speakers with it, the mean is 1 - 1 / (6 G), the squared pulls add up to
    # (G - 1) / (36 G^3).
    size = 10 if erring_is_first else 540
    stderr = math.sqrt(550 / 549 * (size - 1) / size**3) / 6
    t = (-1 if erring_is_first else 1) / (6 * size) / stderr
    found = chance_of(t, groups_of(sums[:10], sums[10:]))
    assert within_noise(found.p_value, exact)
    assert found.low == -found.high < 0


def test_groups_that_do_not_vary_are_infinitely_far_apart():
    # All of the first right, all of the second wrong: 2 of 48,620 dealings are so.
    found = chance_of(1e9, groups_of([6] * 9, [0] * 9))
    assert found.p_value <= 2 * (1 + 5) / 10_000
    assert np.isfinite([found.low, found.high]).all()
