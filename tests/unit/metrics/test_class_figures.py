"""Precision, recall, F1 and their means against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    precision_recall_fscore_support,
)
from statsmodels.stats.proportion import proportion_confint

from modeltest.metrics.class_figures import class_counts, figures_of_all, figures_of_class
from modeltest.records import Aggregate, Score

LABELS = ("laughter", "cough", "sigh")


def score(truth: str, answer: str | None) -> Score:
    return Score(answer, answer == truth, None, False)


def figures(
    truths: list[str],
    answers: list[str | None],
    errors: list[bool] | None = None,
    speakers: list[int] | None = None,
    labels: tuple[str, ...] = LABELS,
) -> dict[tuple[str, str], Aggregate]:
    scores = [score(*pair) for pair in zip(truths, answers, strict=True)]
    counts = class_counts(
        truths,
        scores,
        errors or [False] * len(truths),
        range(len(truths)) if speakers is None else speakers,
        labels,
    )
    found = [*figures_of_all(counts)]
    for label in labels:
        found += figures_of_class(counts, label)
    return {(each.subset, each.metric): each for each in found}


def random_samples(num: int, seed: int = 5) -> tuple[list[str], list[str | None], list[bool]]:
    generator = np.random.default_rng(seed)
    truths = generator.choice(LABELS, num, p=[0.5, 0.3, 0.2]).tolist()
    others = generator.choice([*LABELS, None], num, p=[0.4, 0.2, 0.2, 0.2]).tolist()
    kept = generator.random(num) < 0.7
    answers = [t if k else o for t, k, o in zip(truths, kept, others, strict=True)]
    return truths, answers, (generator.random(num) < 0.05).tolist()


def as_sklearn_sees_it(answers: list[str | None], errors: list[bool]) -> list[str]:
    return [
        "error" if failed else a or "unparsed" for a, failed in zip(answers, errors, strict=True)
    ]


def test_values_are_scikit_learns() -> None:
    truths, answers, errors = random_samples(500)
    found = figures(truths, answers, errors)
    seen = as_sklearn_sees_it(answers, errors)
    table = precision_recall_fscore_support(truths, seen, labels=LABELS, zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1"), table, strict=False):
        for label, value in zip(LABELS, values, strict=True):
            assert found[f"class={label}", name].value == pytest.approx(value)
    macro = f1_score(truths, seen, labels=LABELS, average="macro")
    assert found["all", "macro_f1"].value == pytest.approx(macro)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = balanced_accuracy_score(truths, seen)
    assert found["all", "balanced_acc"].value == pytest.approx(balanced)


def test_counts_by_hand() -> None:
    found = figures(
        ["laughter", "laughter", "laughter", "laughter", "cough", "sigh"],
        ["laughter", "cough", None, "laughter", "laughter", None],
        [False, False, False, True, False, False],
    )
    # laughter: 1 hit of 4 samples (wrong, unparsed, failed), 2 answers of which 1 is right.
    assert found["class=laughter", "recall"].value == 1 / 4
    assert found["class=laughter", "precision"].value == 1 / 2
    assert found["class=laughter", "f1"].value == 2 / (4 + 2)
    row = found["class=laughter", "f1"]
    assert (row.total, row.correct, row.unparsed, row.errors) == (4, 1, 1, 1)
    row = found["all", "macro_f1"]
    assert row.value == pytest.approx((1 / 3 + 0 + 0) / 3)
    assert (row.total, row.correct, row.unparsed, row.errors) == (6, 1, 2, 1)
    assert found["all", "balanced_acc"].value == pytest.approx((1 / 4 + 0 + 0) / 3)


def test_without_a_denominator_nothing_is_measured() -> None:
    found = figures(["laughter"] * 3, ["laughter", None, "laughter"])
    for metric in ("precision", "recall", "f1"):
        row = found["class=cough", metric]
        assert (row.value, row.ci_low, row.ci_method, row.total) == (None, None, "", 0)
    assert found["all", "macro_f1"].value == 2 * 2 / (3 + 2)  # of the one class that is there
    assert found["all", "balanced_acc"].value == 2 / 3
    empty = figures([], [])
    assert all(row.value is None and row.ci_low is None for row in empty.values())


def test_a_class_that_is_only_answered_has_an_f1_of_0() -> None:
    found = figures(["laughter"] * 2, ["laughter", "cough"])
    assert found["class=cough", "f1"].value == 0
    assert found["class=cough", "recall"].value is None
    # scikit-learn: the mean over the labels of truths and answers
    expected = f1_score(["laughter"] * 2, ["laughter", "cough"], average="macro")
    assert found["all", "macro_f1"].value == pytest.approx(expected)


def macro_f1_of(truths: np.ndarray, seen: np.ndarray) -> float:
    return float(f1_score(truths, seen, labels=LABELS, average="macro"))


def test_the_interval_of_macro_f1_is_scipys_bca() -> None:
    truths, answers, errors = random_samples(300)
    row = figures(truths, answers, errors)["all", "macro_f1"]
    assert row.ci_method == "bootstrap"
    truth = np.array(truths)
    seen = np.array(as_sklearn_sees_it(answers, errors))

    def hits_over(places, axis):  # of every label: 2 hits / (truths + answers), then the mean
        chosen_truth, chosen_seen = truth[places], seen[places]
        per_label = [
            2 * ((chosen_truth == label) & (chosen_seen == label)).sum(axis)
            / ((chosen_truth == label).sum(axis) + (chosen_seen == label).sum(axis))
            for label in LABELS
        ]  # fmt: skip
        return np.mean(per_label, axis=0)

    assert hits_over(np.arange(300), 0) == pytest.approx(macro_f1_of(truth, seen))
    theirs = bootstrap(
        (np.arange(300),), hits_over, method="BCa", n_resamples=4000, batch=500, vectorized=True,
        random_state=np.random.default_rng(2),
    )  # fmt: skip
    low, high = theirs.confidence_interval
    assert (row.ci_low, row.ci_high) == pytest.approx((low, high), abs=0.06 * (high - low))
    assert row.stderr == pytest.approx(theirs.standard_error, rel=0.06)


def test_recall_and_precision_have_wilsons_interval_where_nobody_speaks_twice() -> None:
    truths, answers, errors = random_samples(400)
    found = figures(truths, answers, errors)
    for metric, num_answers in (
        ("recall", truths.count("cough")),
        ("precision", as_sklearn_sees_it(answers, errors).count("cough")),
    ):
        row = found["class=cough", metric]
        assert row.ci_method == "wilson"
        expected = proportion_confint(row.correct, num_answers, method="wilson")
        assert (row.ci_low, row.ci_high) == pytest.approx(expected)
    assert found["class=cough", "f1"].ci_method == "bootstrap"


def test_with_speakers_they_are_what_is_resampled() -> None:
    truths, answers, errors = random_samples(400)
    speakers = [i // 8 for i in range(400)]
    found = figures(truths, answers, errors, speakers)
    methods = {row.ci_method for row in found.values()}
    assert methods == {"cluster-bootstrap(speaker)"}
    assert (
        found["all", "macro_f1"].value == figures(truths, answers, errors)["all", "macro_f1"].value
    )
    few = figures(truths, answers, errors, [i // 50 for i in range(400)])
    assert few["all", "macro_f1"] == figures(truths, answers, errors)["all", "macro_f1"]


@pytest.mark.parametrize("speakers", [None, [i % 20 for i in range(60)]])
def test_where_all_is_right_there_is_an_interval_of_some_width(speakers) -> None:
    truths = [LABELS[i // 20] for i in range(60)]
    found = figures(truths, list(truths), speakers=speakers)
    whole = proportion_confint(60, 60, method="wilson")
    one_class = proportion_confint(20, 20, method="wilson")
    for metric in ("macro_f1", "balanced_acc"):
        row = found["all", metric]
        assert (row.value, row.ci_method) == (1, "wilson")
        assert (row.ci_low, row.ci_high) == pytest.approx(whole)
    row = found["class=sigh", "f1"]
    low = one_class[0]
    assert (row.ci_low, row.ci_high) == pytest.approx((2 * low / (1 + low), 1))
    assert found["class=sigh", "recall"].ci_low == pytest.approx(low)


def test_the_smallest_class_decides_where_all_is_right() -> None:
    truths = ["laughter"] * 50 + ["cough"] * 10
    found = figures(truths, list(truths))
    expected = proportion_confint(20, 20, method="wilson")  # two classes, ten of the smaller
    assert found["all", "balanced_acc"].ci_low == pytest.approx(expected[0])


def test_labels_are_the_tasks() -> None:
    with pytest.raises(KeyError):
        figures(["yawn"], ["cough"])
    with pytest.raises(ValueError, match="different numbers of samples"):
        class_counts(["cough"], [], [], [], LABELS)
