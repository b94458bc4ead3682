"""The samples that a margin needs: by hand, by exact probabilities, by simulation."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from modeltest.metrics.paired import non_inferiority, tango_interval
from modeltest.metrics.power import samples_needed

Z_ALPHA, Z_80, Z_90 = 1.959963984540054, 0.8416212335729143, 1.2815515655446004


@pytest.mark.parametrize(("power", "z_power"), [(0.8, Z_80), (0.9, Z_90)])
def test_many_flips_come_near_the_textbook_formula(power, z_power):
    # With V0 = V1 = discordance: (z_alpha + z_power)^2 * discordance / margin^2.
    expected = (Z_ALPHA + z_power) ** 2 * 0.1 / 0.005**2
    assert samples_needed(0.005, 0.1, power) == pytest.approx(expected, rel=0.01)


def test_without_flips_it_is_where_the_interval_gets_narrow_enough():
    # z^2 / (n + z^2) < 0.01 from n = 99 z^2 = 380.3 on.
    assert samples_needed(0.01, 0, 0.9) == math.ceil(99 * Z_ALPHA**2) == 381
    assert tango_interval(0, 0, 381)[0] > -0.01 > tango_interval(0, 0, 380)[0]


def test_clusters_multiply():
    plain = samples_needed(0.01, 0.02, 0.8)
    assert plain is not None
    assert samples_needed(0.01, 0.02, 0.8, design_effect=1.5) == pytest.approx(1.5 * plain, abs=2)


@cache
def most_regressions(num_flips, total, margin):
    """The most of the flips that may be regressions in a PASS, or -1."""
    passing = (
        regressed
        for regressed in range(num_flips, -1, -1)
        if tango_interval(num_flips - regressed, regressed, total)[0] > -margin
    )
    return next(passing, -1)


@pytest.mark.parametrize("power", [0.8, 0.9])
@pytest.mark.parametrize(
    ("margin", "discordance"),
    [(0.01, 0.005), (0.01, 0.02), (0.02, 0.01), (0.02, 0.05), (0.03, 0.02)],
)
def test_the_power_that_is_promised_is_the_exact_one(margin, discordance, power):
    total = samples_needed(margin, discordance, power)
    likely = range(int(binom.ppf(1 - 1e-9, total, discordance)) + 1)
    exact = sum(
        binom.pmf(num, total, discordance)
        * binom.cdf(most_regressions(num, total, margin), num, 0.5)
        for num in likely
    )
    assert power <= exact <= power + 0.5 * (1 - power)


def test_by_simulation_with_a_small_loss():
    margin, discordance, difference = 0.02, 0.04, -0.005
    total = samples_needed(margin, discordance, 0.8, difference)
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    drawn = np.random.default_rng(7).multinomial(total, shares, size=2000)
    passed = [is_outcome("PASS", *counts[:2].tolist(), total, margin) for counts in drawn]
    assert np.mean(passed) == pytest.approx(0.8, abs=0.03)  # 3 standard errors are 0.027


def test_by_simulation_of_a_model_that_is_worse():
    margin, discordance, difference = 0.01, 0.06, -0.03
    total = samples_needed(margin, discordance, 0.9, difference)
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    drawn = np.random.default_rng(8).multinomial(total, shares, size=2000)
    failed = [is_outcome("FAIL", *counts[:2].tolist(), total, margin) for counts in drawn]
    assert np.mean(failed) == pytest.approx(0.9, abs=0.03)


def is_outcome(outcome, improved, regressed, total, margin):
    return non_inferiority(*tango_interval(improved, regressed, total), margin) == outcome


def test_at_the_margin_no_number_of_samples_decides():
    assert samples_needed(0.01, 0.02, 0.8, difference=-0.01) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 0.1, 0.8), "margin"),
        ((1, 0.1, 0.8), "margin"),
        ((0.01, 1.1, 0.8), "discordance"),
        ((0.01, 0.1, 0.8, 0.2), "discordance"),
        ((0.01, 0.1, 1.0), "power"),
        ((0.01, 0.1, 0.4), "power"),
        ((0.01, 0.1, 0.8, 0.0, 0.5), "design effect"),
        ((math.nan, 0.1, 0.8), "margin"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        samples_needed(*arguments)
