"""The studies simulate what they say, and a missed target is told."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import binom
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "study_statistics.py"


@pytest.fixture
def study(monkeypatch):
    spec = importlib.util.spec_from_file_location("study_statistics", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "study_statistics", module)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_coverage_of_wilson_is_the_sum_over_the_binomial(study):
    table = study.wilson_coverage(np.random.default_rng(1), 1)
    [row] = [row for row in table.rows if row[:2] == (120, 0.936)]
    successes = np.arange(121)
    low, high = proportion_confint(successes, 120, method="wilson")
    expected = binom.pmf(successes, 120, 0.936)[(low <= 0.936) & (high >= 0.936)].sum()
    assert row[2].value == pytest.approx(expected)
    assert len(table.rows) == 9
    assert table.is_met


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_drawn_clips_have_the_accuracy_and_the_correlation_asked_for(study, correlation):
    generator = np.random.default_rng(2)
    counts = np.full(200_000, 6)
    right = study._right_answers(generator, counts, 0.8, correlation) / 6
    assert right.mean() == pytest.approx(0.8, abs=0.003)
    # The variance of a mean of m clips is p (1 - p) (1 + (m - 1) r) / m.
    expected = 0.8 * 0.2 * (1 + 5 * correlation) / 6
    assert right.var() == pytest.approx(expected, rel=0.02)


def test_intervals_of_600_speakers_hold_and_wilsons_do_not(study):
    held, wilson_held, width, errorless = study._shares_held(
        np.random.default_rng(3), 600, 0.936, 0.3, 120
    )
    # Binomial limits of 120 runs at 95 %: 106 to 120 hold.
    assert held >= 106 / 120
    assert wilson_held < 106 / 120
    # The design effect is 1 + 5 * 0.3, its root 1.58.
    assert width == pytest.approx(1.58, abs=0.05)
    assert errorless == 0


def test_without_a_true_difference_holm_seldom_raises_an_alarm(study):
    generator = np.random.default_rng(4)
    alarms = 0
    for _ in range(60):
        found = study.slice_differences(*study._sliced(generator, 60, 600, 0.0, 0.3))
        assert [each.key for each in found] == ["gender", "age", "age", "age"]
        alarms += any(each.p_holm < 0.05 for each in found)
    assert alarms <= 8  # more have a chance below 0.5 % if 5 % is right


def test_the_test_that_is_not_taken_is_that_of_statsmodels(study):
    places, correct, speakers = study._sliced(np.random.default_rng(5), 60, 600, -0.08, 0.3)
    found = study._student(places, correct, speakers)
    assert len(found) == 4
    is_first = np.isin(np.arange(len(correct)), places["gender"]["female"])
    fit = sm.OLS(correct.astype(float), sm.add_constant(is_first.astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": speakers}
    )
    # statsmodels adds (n - 1) / (n - 2), and takes another distribution.
    t = abs(fit.params[1]) / fit.bse[1] * np.sqrt((len(correct) - 1) / (len(correct) - 2))
    assert found[0] == pytest.approx(4 * 2 * student.sf(t, 59))


def test_drawn_slices_differ_by_what_is_asked_for(study):
    generator = np.random.default_rng(6)
    differences = []
    for _ in range(200):
        places, correct, _ = study._sliced(generator, 300, 600, -0.05, 0.0)
        shares = [correct[chosen].mean() for chosen in places["gender"].values()]
        differences.append(shares[0] - shares[1])
    assert np.mean(differences) == pytest.approx(-0.05, abs=0.002)


def test_a_missed_target_is_marked_and_told(study):
    missed = study.Share(0.9, 1000, has_target=True)
    assert (missed.is_met, str(missed)) == (False, "90.0 ± 0.9 (!)")
    assert study.Share(0.93, 1000, has_target=True).is_met  # within two standard errors of 94 %
    assert study.Share(0.9, 1000).is_met
    table = study.Table("A", "Text.", ("a", "b"), (("x", missed),))
    assert not table.is_met
    assert table.markdown() == "## A\n\nText.\n\n| a | b |\n| --- | --- |\n| x | 90.0 ± 0.9 (!) |\n"


def test_one_study_is_printed_and_written(study, tmp_path, capsys):
    path = tmp_path / "statistics.md"
    assert study.main(["--only", "wilson", "--write", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert text.strip() == capsys.readouterr().out.strip()
    assert f"Seed: {study.SEED}" in text
    assert "numpy " in text
    assert "| 3591 | 0.936 | 94.8 | 0.80 |" in text


def test_an_unknown_study_is_an_error_of_usage(study, capsys):
    with pytest.raises(SystemExit):
        study.main(["--only", "wlson"])
    assert "no study 'wlson'" in capsys.readouterr().err
