import re

import pytest

from modeltest.records import Aggregate
from modeltest.reports.console import (
    interval,
    path_lines,
    percent,
    result_table,
    speed_line,
    verdict_line,
)
from modeltest.reports.summary import summarise
from modeltest.reports.text import output_text


def share(value, low=None, high=None):
    return Aggregate("all", "acc", value, low, high, "wilson", None, 9, 1, 0, 0)


@pytest.fixture
def no_colour(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


def test_the_verdict_is_the_first_line_of_the_text(run):
    first, *_ = b"".join(output_text(run, summarise(run))).decode("utf-8").splitlines()
    assert first == "INVALID: 1 of 6 samples failed; 1 of 6 replies unparsed"


def test_the_text_of_a_sample(run):
    lines = b"".join(output_text(run, summarise(run))).decode("utf-8").splitlines()
    assert lines[1:5] == [
        "=== 1 f1_0_cough",
        "output: C: Cough",
        "input: <|AUDIO|>What sound?",
        "e2e_time: 0.30000000000000004",
    ]
    assert "output: A person\\nor A: two" in lines
    assert "output: 打喷嚏" in lines
    assert "error: ValueError: boom" in lines


def test_a_sound_run_is_valid_and_says_no_more(make_run, no_colour):
    def keep_three(manifest, samples):
        samples[:] = samples[:3]
        manifest["data"].update(num_samples=3, num_available=3)

    run = make_run(keep_three)
    summary = summarise(run)
    assert b"".join(output_text(run, summary)).startswith(b"VALID\n=== 1 ")
    assert verdict_line(summary) == "VALID"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.00"), (1.0, "100.00"), (2 / 3, "66.67"), (0.93456, "93.46"), (None, "-")],
)
def test_percent(value, shown):
    assert percent(share(value)) == shown


def test_percent_and_interval_of_nothing():
    assert percent(None) == "-"
    assert interval(None) == "-"
    assert interval(share(None)) == "-"


def test_interval():
    assert interval(share(0.5, 0.187616, 0.812384)) == "18.76 – 81.24"


def test_the_table_has_a_row_per_subset(run):
    first, head, _, *rows = result_table(summarise(run)).splitlines()
    assert re.split(r"\s{2,}", first.strip()) == ["95 %", "legacy", "un-"]
    assert re.split(r"\s{2,}", head.strip()) == [
        "subset", "total", "correct", "acc %", "interval", "acc %", "parsed", "errors",
    ]  # fmt: skip
    cells = [re.split(r"\s{2,}", row.strip()) for row in rows]
    assert cells[0] == ["all", "6", "3", "50.00", "18.76–81.24", "33.33", "1", "1"]
    assert [row[0] for row in cells] == [
        "all", "class=laughter", "class=cough", "class=sneeze", "gender=female", "gender=male",
    ]  # fmt: skip
    assert cells[4][:4] == ["gender=female", "3", "3", "100.00"]


def test_the_verdict_line_is_plain_without_colour(run, no_colour):
    assert verdict_line(summarise(run)) == (
        "INVALID: 1 of 6 samples failed; 1 of 6 replies unparsed"
    )


def test_the_speed_line(run):
    assert speed_line(summarise(run)) == (
        "loaded in 2.5 s, evaluated in 4.0 s, 1.50 samples/s, 2.5 s of audio per second"
    )


def test_paths_are_shown_from_here_where_they_lie_below(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    lines = path_lines({"in": tmp_path / "here" / "a.csv", "outside": tmp_path / "b.csv"})
    assert lines.splitlines() == ["in       a.csv", f"outside  {tmp_path / 'b.csv'}"]
