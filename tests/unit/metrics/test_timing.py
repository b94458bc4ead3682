"""Figures over durations, against numpy, hyperfine's own examples and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltest.metrics.timing import (
    coefficient_of_variation,
    drift,
    median,
    modified_z_scores,
    num_outliers,
    p90,
    percentile,
    time_per_output_token_s,
)

DURATIONS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50)


@given(DURATIONS, st.floats(0, 100))
def test_percentiles_are_numpys_linear_ones(values, percent):
    assert percentile(values, percent) == np.percentile(values, percent, method="linear")


def test_a_percentile_by_hand():
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([1.0, 2.0, 3.0, 4.0], 90) == pytest.approx(3.7)  # 3 + 0.7 * (4 - 3)


def test_the_median_of_a_missing_value_is_missing():
    assert median([1.0, 3.0, 2.0]) == 2.0
    assert median([1.0, None, 2.0]) is None
    assert median([]) is None


def test_no_p90_below_64_observations():
    values = [float(n) for n in range(64)]
    assert p90(values[:63]) is None
    assert p90(values) == pytest.approx(56.7)  # 0.9 * 63


def test_time_per_output_token_leaves_the_first_token_out():
    assert time_per_output_token_s(1.0, 0.3, 8) == pytest.approx(0.1)


@pytest.mark.parametrize(("ttft_s", "tokens"), [(0.3, 1), (0.3, 0), (None, 8)])
def test_one_token_or_no_ttft_gives_no_tpot(ttft_s, tokens):
    assert time_per_output_token_s(1.0, ttft_s, tokens) is None


def test_coefficient_of_variation():
    # mean 10, deviations -1, 0, 1: standard deviation (n - 1) is 1
    assert coefficient_of_variation([9.0, 10.0, 11.0]) == pytest.approx(0.1)
    assert coefficient_of_variation([9.0]) is None
    assert coefficient_of_variation([0.0, 0.0]) is None


def test_drift_compares_the_last_third_with_the_first():
    assert drift([10.0, 10.0, 99.0, 1.0, 11.0, 11.0]) == pytest.approx(0.1)
    assert drift([10.0, 10.0, 10.0, 8.0]) == pytest.approx(-0.2)
    assert drift([10.0, 8.0]) is None


def test_from_nothing_there_is_no_drift():
    assert drift([0.0, 0.0, 0.0]) is None
    assert drift([0.0, 1.0, 2.0]) is None
    assert drift([2.0, 1.0, 0.0]) == -1.0


@pytest.mark.parametrize(
    ("values", "outliers"),
    [
        ([50.0], 0),
        ([1000.0, 0.0], 0),
        ([-0.2, 0.0, 0.2], 0),
        ([-0.2, 0.0, 0.2, 4.0], 1),
        ([0.5, 0.30, 0.29, 0.31, 0.30], 1),
        ([10.0] * 7 + [100.0], 1),
        ([10.0] * 7 + [100.0, 100.0], 2),
    ],
)
def test_outliers_are_those_that_hyperfine_finds(values, outliers):
    assert num_outliers(values) == outliers


def test_modified_z_scores_by_hand():
    # median 3, deviations 2 1 0 1 17, their median 1
    assert modified_z_scores([1.0, 2.0, 3.0, 4.0, 20.0]) == [-2.0, -1.0, 0.0, 1.0, 17.0]


def test_a_deviation_from_equal_values_is_infinite():
    assert modified_z_scores([5.0, 5.0, 5.0, 4.0]) == [0.0, 0.0, 0.0, -math.inf]


def test_nothing_measured_has_no_outliers():
    assert num_outliers([]) == 0
