"""Differences between slices against statsmodels and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import hypergeom, permutation_test, ttest_ind
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from modeltest.metrics.slice_differences import SliceDifference, holm, slice_differences


def samples(num: int, per_speaker: int, seed: int = 4) -> tuple[list[bool], list[int]]:
    generator = np.random.default_rng(seed)
    speakers = [i // per_speaker for i in range(num)]
    often = generator.beta(8, 2, num)
    return [bool(generator.random() < often[s]) for s in speakers], speakers


def places(values: list[str]) -> dict[str, list[int]]:
    return {v: [i for i, each in enumerate(values) if each == v] for v in sorted(set(values))}


def ols(correct: list[bool], speakers: list[int], is_first: list[bool]) -> tuple[float, float]:
    """Difference and its clustered standard error without the (n - 1) / (n - 2) of statsmodels."""
    fit = sm.OLS(np.array(correct, float), sm.add_constant(np.array(is_first, float))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(speakers)}
    )
    num = len(correct)
    return float(fit.params[1]), float(fit.bse[1]) / np.sqrt((num - 1) / (num - 2))


def test_holm_is_statsmodels() -> None:
    generator = np.random.default_rng(1)
    for num in range(1, 40):
        p_values = (generator.random(num) ** 3).round(2).tolist()  # small ones, and ties
        expected = multipletests(p_values, method="holm")[1]
        assert holm(p_values) == pytest.approx(list(expected))


def test_holm_by_hand() -> None:
    # 4 x 0.01; 3 x 0.02; 2 x 0.03 is not more than that before it; 0.5 x 1
    assert holm([0.03, 0.5, 0.01, 0.02]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([]) == []


def speaker_means(correct: list[bool], chosen: list[bool], per_speaker: int) -> list[list[float]]:
    """Shares of the speakers with the value, and of those without it."""
    means = np.reshape(np.array(correct, float), (-1, per_speaker)).mean(1)
    is_first = np.reshape(chosen, (-1, per_speaker))[:, 0]
    return [means[is_first].tolist(), means[~is_first].tolist()]


def test_speakers_of_one_value_each_are_dealt_out_anew() -> None:
    correct, speakers = samples(360, 6)
    values = ["f" if s % 3 == 0 else "m" for s in speakers]
    [found] = slice_differences({"gender": places(values)}, correct, speakers)
    assert (found.key, found.value, found.other) == ("gender", "f", "m")
    assert (found.total, found.other_total) == (120, 240)
    difference, stderr = ols(correct, speakers, [v == "f" for v in values])
    assert found.difference == pytest.approx(difference)
    assert found.ci_method == "permutation-t(speaker)"
    expected = permutation_test(
        speaker_means(correct, [v == "f" for v in values], 6),
        lambda x, y, axis: ttest_ind(x, y, axis=axis, equal_var=False).statistic,
        vectorized=True, n_resamples=20_000, rng=np.random.default_rng(1),
    )  # fmt: skip
    # The two t differ by G / (G - 1) against g / (g - 1) of each side; both orders are as good.
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.03)
    assert found.p_holm == found.p_value
    # Quantiles of t are near those of the normal distribution, of which the sides differ.
    for end, sign in ((found.ci_low, -1), (found.ci_high, 1)):
        assert 1.7 < sign * (end - difference) / stderr < 2.4


def test_samples_without_speakers_are_dealt_out_as_scipy_does() -> None:
    correct, speakers = samples(24, 1)
    values = ["a" if i < 11 else "b" for i in range(24)]
    [found] = slice_differences({"k": places(values)}, correct, speakers)
    right = np.array(correct)
    # Of 0 and 1 alone any t falls with the number of right ones: Fisher's hypergeometric.
    exact = hypergeom(24, right.sum(), 11)
    tails = exact.cdf(right[:11].sum()), exact.sf(right[:11].sum() - 1)
    assert found.ci_method == "permutation-t"
    assert found.p_value == pytest.approx(min(1.0, 2 * min(tails)), abs=0.02)


def test_speakers_on_both_sides_are_compared_as_statsmodels_does() -> None:
    correct, speakers = samples(360, 6)
    values = ["f" if i % 3 == 0 else "m" for i in range(360)]
    [found] = slice_differences({"gender": places(values)}, correct, speakers)
    difference, stderr = ols(correct, speakers, [v == "f" for v in values])
    assert found.ci_method == "cluster-robust-t(speaker)"
    # Student's t of 59 degrees of freedom.
    assert found.ci_low == pytest.approx(difference - 2.000995 * stderr, abs=1e-6)
    assert found.ci_high == pytest.approx(difference + 2.000995 * stderr, abs=1e-6)
    assert found.p_value == pytest.approx(2 * student.sf(abs(difference) / stderr, 59))
    assert found.p_holm == found.p_value


def test_the_order_of_the_samples_does_not_matter() -> None:
    correct, speakers = samples(360, 6)
    values = ["f" if s % 3 == 0 else "m" for s in speakers]
    expected = slice_differences({"gender": places(values)}, correct, speakers)
    order = np.random.default_rng(2).permutation(360)
    shuffled = [[part[i] for i in order] for part in (values, correct, speakers)]
    [found] = slice_differences({"gender": places(shuffled[0])}, *shuffled[1:])
    assert (found.p_value, found.ci_low) == pytest.approx((expected[0].p_value, expected[0].ci_low))


def test_an_interval_without_0_is_a_p_value_below_5_percent() -> None:
    correct, speakers = samples(600, 6)
    for seed in range(30):
        chosen = np.random.default_rng(seed).random(100) < 0.5
        values = ["a" if chosen[s] else "b" for s in speakers]
        [found] = slice_differences({"k": places(values)}, correct, speakers)
        assert found.p_value is not None
        excludes = not found.ci_low <= 0 <= found.ci_high
        assert excludes == (found.p_value < 0.05)


def test_more_values_are_each_compared_with_the_rest_and_corrected_together() -> None:
    correct, speakers = samples(600, 6)
    ages = [("18-25", "26-48", "49-80")[s % 3] for s in speakers]
    genders = [("female", "male")[s % 2] for s in speakers]
    keys = {"gender": places(genders), "age": places(ages)}
    found = slice_differences(keys, correct, speakers)
    assert [(each.key, each.value, each.other) for each in found] == [
        ("gender", "female", "male"),
        ("age", "18-25", "rest"),
        ("age", "26-48", "rest"),
        ("age", "49-80", "rest"),
    ]
    for each in found[1:]:
        difference, _ = ols(correct, speakers, [age == each.value for age in ages])
        assert each.difference == pytest.approx(difference)
    expected = multipletests([each.p_value for each in found], method="holm")[1]
    assert [each.p_holm for each in found] == pytest.approx(list(expected))


def test_samples_of_no_value_stay_out() -> None:
    correct, speakers = samples(300, 1)
    values = ["f" if i < 100 else "m" if i < 220 else "?" for i in range(300)]
    known = {name: chosen for name, chosen in places(values).items() if name != "?"}
    [found] = slice_differences({"gender": known}, correct, speakers)
    assert found.difference == pytest.approx(np.mean(correct[:100]) - np.mean(correct[100:220]))
    assert found.ci_method == "permutation-t"


def test_too_few_speakers_have_a_difference_and_no_interval() -> None:
    correct, speakers = samples(120, 6)
    values = ["f" if s < 9 else "m" for s in speakers]
    [found] = slice_differences({"gender": places(values)}, correct, speakers)
    assert found.difference == pytest.approx(np.mean(correct[:54]) - np.mean(correct[54:]))
    assert (found.ci_low, found.ci_high, found.p_value, found.p_holm) == (None,) * 4
    assert found.ci_method == ""


def test_where_nothing_varies_there_is_no_interval_and_no_place_in_the_correction() -> None:
    speakers = [i // 2 for i in range(100)]
    right = places(["a" if s % 2 else "b" for s in speakers])
    [found] = slice_differences({"k": right}, [True] * 100, speakers)
    assert found == SliceDifference(
        "k", "a", "b", 0.0, None, None, None, None, total=50, other_total=50
    )


@pytest.mark.parametrize(
    "slices", [{}, {"k": {}}, {"k": {"a": [0, 1]}}, {"k": {"a": [], "b": [0]}}]
)
def test_one_value_has_no_other(slices) -> None:
    assert slice_differences(slices, [True, False], [0, 1]) == ()
