"""The bootstrap over blocks: its widening by scipy, its coverage by simulation."""

import math

import numpy as np
import pytest
import scipy.stats

from modeltest.metrics import block_bootstrap
from modeltest.metrics.block_bootstrap import expanded_alpha, median_interval, ratio_interval


@pytest.mark.parametrize(("blocks", "alpha"), [(3, 1.36e-7), (5, 0.0019095), (10, 0.017104)])
def test_the_widening_is_hesterbergs(blocks, alpha):
    """His formula with t and normal integrated numerically here, not read from a table."""
    degrees = blocks - 1
    grid = np.linspace(0, 60, 600_001)
    scale = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    density = scale * (1 + grid**2 / degrees) ** (-(degrees + 1) / 2)
    steps = np.cumsum((density[1:] + density[:-1]) / 2) * (grid[1] - grid[0])
    quantile = grid[1:][np.searchsorted(steps, 0.475)]
    by_hand = math.erfc(math.sqrt(blocks / (blocks - 1)) * quantile / math.sqrt(2))
    assert expanded_alpha(blocks) == pytest.approx(by_hand, rel=2e-3)
    assert expanded_alpha(blocks) == pytest.approx(alpha, rel=0.02)


def test_many_blocks_need_no_widening():
    assert expanded_alpha(100_000) == pytest.approx(0.05, abs=1e-4)


def test_one_block_has_no_interval():
    assert median_interval([[1.0, 2.0, 3.0]]) is None
    assert ratio_interval([[1.0]], [[1.0], [1.0]]) is None


def test_equal_rounds_have_an_interval_of_no_width():
    assert median_interval([[7.0] * 4] * 3) == (7.0, 7.0)
    assert ratio_interval([[8.0] * 4] * 3, [[6.0] * 9] * 5) == (0.75, 0.75)


def test_the_same_rounds_give_the_same_interval():
    blocks = np.random.default_rng(3).normal(100, 2, (5, 7)).tolist()
    assert median_interval(blocks) == median_interval(blocks)


def test_the_interval_is_that_of_a_plain_loop():
    """Against the definition, drawn one by one by another generator; blocks differ in length."""
    blocks = [[9.0, 10.0, 10.5], [11.0, 12.0], [10.0, 10.2, 10.4, 11.5], [9.5], [10.1, 10.3]]
    generator = np.random.default_rng(1)
    medians = []
    for _ in range(20_000):
        rounds = [
            blocks[b][generator.integers(len(blocks[b]))]
            for b in generator.integers(5, size=5)
            for _ in blocks[b]
        ]
        medians.append(np.median(rounds))
    tail = expanded_alpha(5, 0.8) / 2
    expected = np.quantile(medians, [tail, 1 - tail])
    assert median_interval(blocks, 0.8) == pytest.approx(expected, abs=0.06)


def test_blocks_that_differ_widen_the_interval_more_than_rounds_that_do():
    shift = np.array([-3.0, -1.5, 0.0, 1.5, 3.0])[:, None]
    noise = np.random.default_rng(4).normal(0, 0.3, (5, 40))
    apart = median_interval((100 + shift + noise).tolist())
    together = median_interval((100 + noise).tolist())
    assert apart[1] - apart[0] > 10 * (together[1] - together[0])


def test_a_long_block_is_thinned_to_its_quantiles():
    block = np.random.default_rng(5).permutation(10_001).astype(float)
    thinned = block_bootstrap._thinned(block)
    assert len(thinned) == 128
    assert np.median(thinned) == pytest.approx(5000)
    assert thinned[0] == pytest.approx(10_000 * 0.5 / 128)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch):
    """Machine states that differ by pass, which a bootstrap over rounds alone would miss."""
    monkeypatch.setattr(block_bootstrap, "NUM_RESAMPLES", 600)
    generator = np.random.default_rng(6)
    covered = 0
    for _ in range(200):
        states = generator.normal(100, 1.0, (5, 1))
        rounds = states + generator.normal(0, 1.0, (5, 8))
        low, high = median_interval(rounds.tolist())
        covered += low <= 100 <= high
    # Of 200 trials, 180 or more: 5 blocks bound what any resampling of them can reach.
    assert covered >= 180
    assert scipy.stats.binom.cdf(180, 200, 0.95) < 0.01


def test_the_ratios_interval_holds_the_ratio():
    generator = np.random.default_rng(7)
    first = generator.normal(100, 1, (5, 20)).tolist()
    second = generator.normal(80, 1, (5, 20)).tolist()
    low, high = ratio_interval(first, second)
    assert low < 0.8 < high
    assert high - low < 0.04
