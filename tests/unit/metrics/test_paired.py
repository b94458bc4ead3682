"""Paired differences against published values, statsmodels and likelihoods maximised by number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from statsmodels.stats.contingency_tables import mcnemar

from modeltest.metrics.cluster_bootstrap import cluster_interval
from modeltest.metrics.paired import (
    BY_SPEAKER_AND_TANGO,
    TANGO,
    PairedInterval,
    design_effect,
    mcnemar_exact,
    non_inferiority,
    null_variance,
    paired_interval,
    tango_interval,
)

Z = 1.959963984540054
flips = st.integers(1, 3000).flatmap(
    lambda total: st.tuples(st.integers(0, total), st.integers(0, total), st.just(total)).filter(
        lambda counts: counts[0] + counts[1] <= counts[2]
    )
)


class TestTango:
    @pytest.mark.parametrize(
        ("improved", "regressed", "total", "low", "high"),
        [
            # Fagerland, Lydersen, Laake, "Statistical Analysis of Contingency Tables" (2017),
            # chapter 8: airway reactivity, then response to therapy.
            (1, 7, 21, -0.517, -0.026),
            (6, 16, 161, -0.1240, -0.0054),
        ],
    )
    def test_published_intervals(self, improved, regressed, total, low, high):
        digits = 5e-4 if total == 21 else 5e-5
        assert tango_interval(improved, regressed, total) == pytest.approx((low, high), abs=digits)

    @given(flips)
    def test_each_end_is_z_errors_from_the_estimate(self, counts):
        improved, regressed, total = counts
        estimate = (improved - regressed) / total
        for end in tango_interval(*counts):
            if abs(end) > 1 - 1e-6 or abs(end - estimate) < 1e-6:
                continue
            variance = fitted_variance(improved / total, regressed / total, end)
            distance = abs(estimate - end) / math.sqrt(variance / total)
            assert distance == pytest.approx(Z, rel=2e-3)

    @pytest.mark.parametrize("total", [1, 120, 3591, 1_000_000])
    def test_without_flips_it_is_as_wide_as_wilson_at_0(self, total):
        # n d^2 = z^2 d (1 - d), solved for d.
        wide = Z * Z / (total + Z * Z)
        assert tango_interval(0, 0, total) == pytest.approx((-wide, wide), rel=1e-6)

    @given(flips)
    def test_it_holds_the_estimate_and_mirrors(self, counts):
        improved, regressed, total = counts
        low, high = tango_interval(improved, regressed, total)
        assert -1 <= low <= (improved - regressed) / total <= high <= 1
        assert tango_interval(regressed, improved, total) == (-high, -low)

    def test_all_regressed(self):
        low, high = tango_interval(0, 5, 5)
        assert low == -1
        assert -1 < high < 0


def fitted_variance(improved, regressed, difference):
    """p_improved + p_regressed - difference^2 of the likeliest probabilities, by search."""
    alike = 1 - improved - regressed

    def unlikely(p):  # p_regressed; p_improved = p + difference
        parts = ((improved, p + difference), (regressed, p), (alike, 1 - 2 * p - difference))
        return -sum(share * math.log(max(value, 1e-300)) for share, value in parts if share)

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    p = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return 2 * p + difference - difference**2


@given(flips, st.floats(-0.9, 0.9))
def test_the_variance_is_that_of_the_likeliest_probabilities(counts, difference):
    improved, regressed = counts[0] / counts[2], counts[1] / counts[2]
    found = null_variance(improved, regressed, difference)
    assert found == pytest.approx(fitted_variance(improved, regressed, difference), abs=1e-4)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_equals_statsmodels(improved, regressed):
    expected = mcnemar([[7, improved], [regressed, 5]], exact=True).pvalue
    assert mcnemar_exact(improved, regressed) == pytest.approx(float(expected), abs=1e-12)


def test_mcnemar_by_hand():
    # Of 14 coins at most 3 heads or at most 3 tails: 2 (1 + 14 + 91 + 364) / 2^14.
    assert mcnemar_exact(3, 11) == pytest.approx(940 / 16384)
    assert mcnemar_exact(0, 0) == 1


class TestPairedInterval:
    def test_without_speakers_it_is_tango(self):
        differences = [1] * 3 + [-1] * 5 + [0] * 92
        expected = PairedInterval(*tango_interval(3, 5, 100), TANGO)
        assert paired_interval(differences) == expected
        every = [f"s{number}" for number in range(100)]
        assert paired_interval(differences, every) == expected

    def test_speakers_that_flip_as_one_widen_it(self):
        differences = ([-1] * 6 + [0] * 6 + [1] * 6 + [0] * 42) * 5
        speakers = [f"s{place // 6}" for place in range(300)]
        found = paired_interval(differences, speakers)
        resampled = cluster_interval(differences, speakers)
        # Six clips as one are worth one: 5 and 5 flips of 50 samples, but for G / (G - 1).
        fewer = tango_interval(5 * 49 / 50, 5 * 49 / 50, 49)
        assert found.low == pytest.approx(min(resampled[0], fewer[0]))
        assert found.high == pytest.approx(max(resampled[1], fewer[1]))
        assert found.method == BY_SPEAKER_AND_TANGO
        low, high = tango_interval(30, 30, 300)
        assert found.low < 1.5 * low
        assert found.high > 1.5 * high

    def test_one_flip_cannot_show_how_far_speakers_differ(self):
        # Resamples hold the flip 0, 1, 2, … times and never improve: an upper end of 0.
        differences = [-1] + [0] * 119
        speakers = [f"s{place // 6}" for place in range(120)]
        resampled = cluster_interval(differences, speakers)
        assert resampled is not None
        assert resampled[1] == 0
        found = paired_interval(differences, speakers)
        assert found.high == pytest.approx(tango_interval(0, 1, 120)[1], rel=0.02)
        assert found.high > 0.02

    def test_few_speakers_or_no_flips_have_no_bootstrap(self):
        assert paired_interval([1, 0, 0, -1], ["a", "a", "b", "b"]).method == TANGO
        speakers = [f"s{place // 6}" for place in range(120)]
        assert paired_interval([0] * 120, speakers).method == TANGO

    def test_lengths_have_to_agree(self):
        with pytest.raises(ValueError, match="2 values"):
            paired_interval([0, 1], ["a", "a", "b"])


class TestDesignEffect:
    def test_clips_that_flip_as_one_count_once(self):
        # m clips alike: the error of G speakers, with G - 1 in the denominator.
        one_of_each = [-1, 1, 0, 0, 0] * 4
        differences = [value for value in one_of_each for _ in range(6)]
        speakers = [f"s{place // 6}" for place in range(120)]
        assert design_effect(differences, speakers) == pytest.approx(6 * 20 / 19)

    def test_nothing_seen_is_1(self):
        assert design_effect([0, 0, 0], ["a", "a", "b"]) == 1
        assert design_effect([1, 0, -1, 0], None) == 1
        # Speakers that are more alike than chance make it no smaller than 1.
        assert design_effect([1, -1] * 10, [f"s{place // 2}" for place in range(20)]) == 1


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (-0.009, 0.02, "PASS"),
        (-0.009, -0.001, "PASS"),  # worse, by less than the margin
        (-0.01, 0.02, "INCONCLUSIVE"),
        (-0.03, -0.002, "INCONCLUSIVE"),  # worse, and by how much is open
        (-0.03, -0.01, "INCONCLUSIVE"),
        (-0.03, -0.011, "FAIL"),
        (0.01, 0.02, "PASS"),
    ],
)
def test_the_verdict(low, high, outcome):
    assert non_inferiority(low, high, margin=0.01) == outcome
