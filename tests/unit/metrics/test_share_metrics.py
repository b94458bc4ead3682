"""Accuracy and the rates on hand-made scores."""

from __future__ import annotations

import pytest

from modeltest.errors import SettingsError
from modeltest.metrics.factory import make_metrics
from modeltest.records import Aggregate, Score

RIGHT = Score("cough", True, "cough", True)
RIGHT_BUT_NOT_BY_LEGACY = Score("cough", True, "laughter", False)
WRONG = Score("sigh", False, "sigh", False)
UNPARSED = Score(None, False, "cough", True)
FAILED = Score(None, False, None, False)

SCORES = [RIGHT, RIGHT, RIGHT, RIGHT_BUT_NOT_BY_LEGACY, WRONG, WRONG, UNPARSED, UNPARSED]
SCORES += [FAILED, FAILED]
ERRORS = [False] * 8 + [True] * 2


def figures(scores: list[Score], errors: list[bool]) -> dict[str, Aggregate]:
    metrics = make_metrics(["acc", "acc_legacy"])
    return {metric.name: metric.aggregate("all", scores, errors) for metric in metrics}


@pytest.mark.parametrize(
    ("metric", "value", "correct"),
    [("acc", 0.4, 4), ("acc_legacy", 0.5, 5), ("unparsed_rate", 0.2, 4), ("error_rate", 0.2, 4)],
)
def test_values(metric: str, value: float, correct: int) -> None:
    row = figures(SCORES, ERRORS)[metric]
    assert (row.subset, row.metric) == ("all", metric)
    assert row.value == pytest.approx(value)
    assert row.correct == correct
    assert (row.total, row.unparsed, row.errors) == (10, 2, 2)


def test_interval_and_standard_error_of_the_value() -> None:
    row = figures(SCORES, ERRORS)["acc"]
    assert row.ci_method == "wilson"
    assert (row.ci_low, row.ci_high) == pytest.approx((0.1682, 0.6873), abs=5e-5)
    assert row.stderr == pytest.approx(0.15492, abs=5e-6)


def test_failed_and_unparsed_samples_stay_in_the_total() -> None:
    row = figures([RIGHT, UNPARSED, FAILED], [False, False, True])["acc"]
    assert row.total == 3
    assert row.value == pytest.approx(1 / 3)


def test_a_failed_sample_counts_as_failed_whatever_its_score() -> None:
    rows = figures([RIGHT], [True])
    assert rows["acc"].value == 0
    assert rows["acc_legacy"].value == 0
    assert rows["unparsed_rate"].value == 0
    assert rows["error_rate"].value == 1


def test_without_samples_nothing_is_measured() -> None:
    for row in figures([], []).values():
        assert row.value is None
        assert (row.ci_low, row.ci_high, row.stderr) == (None, None, None)
        assert row.ci_method == ""
        assert (row.total, row.correct) == (0, 0)


def test_scores_and_errors_belong_together() -> None:
    with pytest.raises(ValueError, match="zip"):
        figures([RIGHT], [])


@pytest.mark.parametrize(
    ("names", "made"),
    [
        ([], ["unparsed_rate", "error_rate"]),
        (["acc_legacy", "acc"], ["acc_legacy", "acc", "unparsed_rate", "error_rate"]),
        (["acc", "acc", "error_rate"], ["acc", "error_rate", "unparsed_rate"]),
    ],
)
def test_the_rates_are_always_made(names: list[str], made: list[str]) -> None:
    assert [metric.name for metric in make_metrics(names)] == made


def test_an_unknown_metric_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="'f1'; known: acc, acc_legacy"):
        make_metrics(["f1"])


def test_the_likeliest_option_counts_whatever_the_reply_says() -> None:
    [metric] = [m for m in make_metrics(["acc_option_logits"]) if m.name == "acc_option_logits"]
    scores = [
        Score("sigh", False, None, False, "cough", True),
        Score("cough", True, "cough", True, "sigh", False),
        Score(None, False, None, False, "cough", True),
        Score(None, False, None, False, "cough", True),
    ]
    row = metric.aggregate("all", scores, [False, False, False, True])
    assert (row.value, row.correct, row.total, row.errors) == (0.5, 2, 4, 1)
    assert row.ci_method == "wilson"
