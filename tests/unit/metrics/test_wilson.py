"""Wilson's interval and the standard error against independent values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from modeltest.metrics.intervals import standard_error, wilson

shares = st.integers(1, 5000).flatmap(
    lambda total: st.tuples(st.integers(0, total), st.just(total))
)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998), table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(successes: int, total: int, low: float, high: float) -> None:
    assert wilson(successes, total) == pytest.approx((low, high), abs=5e-5)


@given(shares, st.sampled_from([0.8, 0.95, 0.99]))
def test_equals_statsmodels(share: tuple[int, int], confidence: float) -> None:
    expected = proportion_confint(*share, alpha=1 - confidence, method="wilson")
    assert wilson(*share, confidence) == pytest.approx(expected, abs=1e-9)


@given(shares)
def test_holds_the_share_and_stays_a_share(share: tuple[int, int]) -> None:
    interval = wilson(*share)
    assert interval is not None
    low, high = interval
    assert 0 <= low <= share[0] / share[1] <= high <= 1


def test_standard_error() -> None:
    assert standard_error(50, 100) == pytest.approx(0.05)
    assert standard_error(90, 100) == pytest.approx(0.03)
    assert standard_error(0, 10) == 0


def test_no_samples_have_no_interval() -> None:
    assert wilson(0, 0) is None
    assert standard_error(0, 0) is None
