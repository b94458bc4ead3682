"""Corpus word error rate, its interval, and the rates beside it."""

import random

import numpy as np
import pytest
from scipy.stats import bootstrap

from modeltest.metrics.accuracy import ANSWERED_RATE, EXACT_MATCH
from modeltest.metrics.edit_distance import edit_distance_share
from modeltest.metrics.factory import make_metrics
from modeltest.metrics.word_error_rate import WORD_ERROR_RATE


def transcript(edits, words, answer="x"):
    from modeltest.records import Score

    return Score(answer, edits == 0, None, False, num_word_edits=edits, num_reference_words=words)


def rate(scores):
    return WORD_ERROR_RATE.aggregate("all", scores, [False] * len(scores))


def test_edits_are_summed_before_they_are_divided():
    found = rate([transcript(1, 4), transcript(0, 2), transcript(6, 3)])
    assert found.value == 7 / 9
    assert (found.total, found.correct, found.ci_method) == (3, 1, "bootstrap")


def test_a_failed_sample_stays_in_the_total():
    scores = [transcript(0, 3), transcript(3, 3, answer=None), transcript(3, 3, answer=None)]
    found = WORD_ERROR_RATE.aggregate("all", scores, [False, True, False])
    assert found.value == 6 / 9
    assert (found.total, found.correct, found.unparsed, found.errors) == (3, 1, 1, 1)


def test_the_order_of_the_samples_makes_no_difference():
    randomness = random.Random(3)
    scores = [transcript(randomness.randint(0, 9), randomness.randint(1, 9)) for _ in range(60)]
    shuffled = randomness.sample(scores, len(scores))
    assert rate(scores) == rate(shuffled)


def test_the_interval_is_the_percentile_bootstraps():
    generator = np.random.default_rng(5)
    words = generator.integers(1, 30, 400)
    edits = generator.binomial(words, 0.2)
    found = rate([transcript(int(e), int(w)) for e, w in zip(edits, words, strict=True)])

    def of(edits, words, axis):
        return edits.sum(axis=axis) / words.sum(axis=axis)

    theirs = bootstrap(
        (edits, words), of, paired=True, method="percentile", n_resamples=4000, batch=500,
        random_state=np.random.default_rng(1),
    )  # fmt: skip
    low, high = theirs.confidence_interval
    assert found.ci_low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.ci_high == pytest.approx(high, abs=0.15 * (high - low))
    assert found.stderr == pytest.approx(theirs.standard_error, rel=0.1)
    assert found.ci_low < found.value < found.ci_high


def test_one_sample_has_a_rate_and_no_interval():
    found = rate([transcript(1, 4)])
    assert (found.value, found.ci_low, found.ci_method, found.stderr) == (0.25, None, "", None)


@pytest.mark.parametrize("scores", [[], [transcript(None, None)] * 3])
def test_where_nobody_knows_what_is_said_nothing_is_measured(scores):
    for metric in (WORD_ERROR_RATE, EXACT_MATCH):
        found = metric.aggregate("all", scores, [False] * len(scores))
        assert (found.value, found.ci_low, found.ci_method) == (None, None, "")
        assert found.total == len(scores)


def test_shares_of_transcripts():
    scores = [transcript(0, 3), transcript(2, 3), transcript(3, 3, None), transcript(3, 3, None)]
    errors = [False, False, False, True]
    assert EXACT_MATCH.aggregate("all", scores, errors).value == 1 / 4
    assert ANSWERED_RATE.aggregate("all", scores, errors).value == 2 / 4


def test_they_have_names():
    names = ["wer", "exact_match", "answered_rate"]
    assert [each.name for each in make_metrics(names)] == [*names, "unparsed_rate", "error_rate"]


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ("", "", 0.0),
        ("abc", "abc", 0.0),
        ("abc", "", 1.0),
        ("kitten", "sitting", 3 / 13),  # Levenshtein's own example: 3 edits
        ("abcd", "wxyz", 4 / 8),
        ("flaw", "lawn", 2 / 8),
    ],
)
def test_edit_distance_share(first, second, share):
    assert edit_distance_share(first, second) == share
    assert edit_distance_share(second, first) == share
