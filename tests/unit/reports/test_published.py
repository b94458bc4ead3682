"""Others' figures beside the run's own: with their source, and never as a gate."""

import re

import pytest

from modeltest.reports.html import report_html
from modeltest.reports.markdown import accuracy_markdown
from modeltest.reports.published import published_lines, published_values
from modeltest.reports.summary import summarise
from modeltest.settings.load import load_task

TWO = [
    {"value": 0.936, "model": "Q-7B", "source": "notes 0.3", "note": "test split"},
    {"value": 1, "model": "B", "source": "a paper", "note": ""},
]
HOSTILE = "</td><script>alert(1)</script>\x1b[2J\n| x |"


@pytest.fixture
def publishing(make_run):
    def make(published):
        return make_run(
            lambda manifest, _: manifest["task"]["settings"].update(published=published)
        )

    return make


def text_of(run, language):
    page = report_html(run, summarise(run), language).decode("utf-8")
    section = page.partition('id="published-title"')[2].partition("<dl")[0]
    rows = [
        re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", section, re.S)
    ]
    return [" ".join(row) for row in rows], re.sub(r"<[^>]+>", "", section)


def test_the_page_has_them_below_the_runs_own_accuracy_with_source(publishing):
    rows, text = text_of(publishing(TWO), "en")
    assert rows[0] == "model accuracy, % source"
    assert rows[1].startswith("m 50.00 ")  # three of six are right
    assert rows[1].endswith("this run, acc")
    assert rows[2:] == ["Q-7B 93.60 notes 0.3 (test split)", "B 100.00 a paper"]
    assert "Measured elsewhere" in text
    assert "no gate: no verdict depends on them" in text


def test_the_page_says_so_in_chinese(publishing):
    rows, text = text_of(publishing(TWO), "zh")
    assert rows[2] == "Q-7B 93.60 notes 0.3 (test split)"
    assert "别处" in text
    assert "不是门槛" in text


def test_the_verdict_is_the_same_with_and_without_them(publishing):
    far_above = [{**TWO[0], "value": 1.0}]
    assert summarise(publishing(far_above)).verdict == summarise(publishing([])).verdict


def test_the_terminal_has_a_line_each(publishing):
    first, *lines = published_lines(publishing(TWO).manifest).splitlines()
    assert "measured elsewhere, no gate: no verdict depends on it" in first
    assert lines == ["  93.60 %  Q-7B: notes 0.3 (test split)", "  100.00 %  B: a paper"]


def test_the_block_of_markdown_has_a_table(publishing):
    run = publishing(TWO)
    block = accuracy_markdown(run, summarise(run))
    assert "| 93.60 | `Q-7B` | notes 0.3 (test split) |\n| 100.00 | B | a paper |" in block
    assert "measured elsewhere, no gate: no verdict depends on it." in block


@pytest.mark.parametrize("published", [None, []])
def test_where_nothing_was_published_nothing_is_shown(make_run, publishing, published):
    run = make_run() if published is None else publishing(published)
    assert published_lines(run.manifest) == ""
    assert "published" not in accuracy_markdown(run, summarise(run)).lower()
    assert b"published-title" not in report_html(run, summarise(run))


def test_hostile_words_stay_text(publishing):
    run = publishing([{"value": 0.5, "model": HOSTILE, "source": HOSTILE}])
    page = report_html(run, summarise(run)).decode("utf-8")
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert len(published_lines(run.manifest).splitlines()) == 2
    [row] = [
        line
        for line in accuracy_markdown(run, summarise(run)).splitlines()
        if "50.00 |" in line and "script" in line
    ]
    assert "<script>" not in row


def test_what_a_task_file_publishes_is_what_is_shown():
    settings = load_task("vocalsound_lmms").settings.model_dump(mode="json")
    shown = published_values({"task": {"settings": settings}})
    assert [(each.percent, each.where) for each in shown[:2]] == [
        ("93.60", "lmms-eval 0.3 release notes (test split)"),
        ("92.88", "lmms-eval 0.3 release notes (validation split)"),
    ]
