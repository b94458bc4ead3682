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
from modeltest.reports.html import report_html
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


def test_the_verdict_stands_in_title_and_body_of_the_page(run):
    page = report_html(run, summarise(run)).decode("utf-8")
    assert re.search(r"<title>INVALID\b", page)
    first_text = re.sub(r"\s*<[^>]*>\s*", " ", page.partition("<body>")[2]).split()
    assert " ".join(first_text[:6]) == "INVALID 1 of 6 samples failed"
    assert "1 of 6 replies unparsed" in page


def test_the_page_shows_the_figures_and_every_wrong_sample_and_fetches_nothing(run):
    page = report_html(run, summarise(run)).decode("utf-8")
    assert "0.5000 " in page
    assert "[0.1876, 0.8124]" in page
    assert "not correct (3)" in page
    shown = [name for name in ("f1_0_cough", "f1_0_laughter", "f1_0_sneeze") if name in page]
    assert shown == []
    assert "打喷嚏" not in page
    for name in ("m2_0_cough", "m2_0_laughter", "m2_0_sneeze"):
        assert f"<td>{name}</td>" in page
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page)


def test_the_page_lists_500_wrong_samples_and_counts_the_others(make_run):
    def many_wrong(manifest, samples):
        wrong = samples[2]
        samples[:] = [
            {**wrong, "index": index, "sample_id": f"m2_{index}_cough"} for index in range(503)
        ]
        manifest["data"].update(num_samples=503, num_available=503)

    run = make_run(many_wrong)
    page = report_html(run, summarise(run)).decode("utf-8")
    assert "not correct (503)" in page
    assert page.count("<td>m2_") == 500
    assert "<td>m2_499_cough</td>" in page
    assert "first 500, 3 more are not shown" in page


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
    head, _, *rows = result_table(summarise(run)).splitlines()
    assert re.split(r"\s{2,}", head.strip()) == [
        "subset", "total", "correct", "acc %", "95 % interval", "acc_legacy %", "unparsed",
        "errors",
    ]  # fmt: skip
    cells = [re.split(r"\s{2,}", row.strip()) for row in rows]
    assert cells[0] == ["all", "6", "3", "50.00", "18.76 – 81.24", "33.33", "1", "1"]
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
