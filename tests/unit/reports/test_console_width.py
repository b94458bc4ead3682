"""What the terminal shows of a run keeps to 80 columns, in Chinese, too."""

import re
from dataclasses import replace
from functools import partial

import pytest
from termcolor import colored

from modeltest.records import Verdict
from modeltest.reports import console
from modeltest.reports.console import result_table, verdict_line
from modeltest.reports.summary import summarise
from modeltest.reports.terminal import cells

CHINESE = {"cough": "咳嗽", "laughter": "笑声", "sneeze": "打喷嚏"}


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def chinese_run(make_run):
    """The run with Chinese labels."""

    def translate(manifest, samples):
        manifest["labels"] = [CHINESE[label] for label in manifest["labels"]]
        for sample in samples:
            sample["truth"] = CHINESE[sample["truth"]]
            sample["subsets"][0] = f"class={sample['truth']}"
            score = sample["score"]
            for name in ("answer", "legacy_answer"):
                score[name] = CHINESE.get(score[name])

    return make_run(translate)


def columns_of(lines):
    """Where the cells of a line end, counted in cells of the terminal."""
    return [[cells(line[: found.end()]) for found in re.finditer(r"\S+", line)] for line in lines]


def test_chinese_labels_are_aligned(chinese_run):
    table = result_table(summarise(chinese_run))
    rows = [line for line in table.splitlines() if "class=" in line]
    assert [row.split()[0] for row in rows] == ["class=笑声", "class=咳嗽", "class=打喷嚏"]
    ends = columns_of(rows)
    assert [end[1:] for end in ends] == [ends[0][1:]] * 3
    assert len({cells(line) for line in table.splitlines()[2:3] + rows}) == 1


def large(summary, factor):
    """The same shares of so many times the samples."""
    many = [
        replace(
            each,
            total=each.total * factor,
            correct=None if each.correct is None else each.correct * factor,
            unparsed=each.unparsed * factor,
            errors=each.errors * factor,
        )
        for each in summary.aggregates
    ]
    return replace(summary, aggregates=tuple(many))


def test_five_digits_and_the_longest_label_fit(make_run):
    def rename(_manifest, samples):
        for sample in samples:
            sample["subsets"][1] = "gender=" + "很长的名字" * 8

    table = result_table(large(summarise(make_run(rename)), 3_000))
    # A Chinese character that would end beyond the last column is left out whole.
    assert max(map(cells, table.splitlines())) in {79, 80}
    assert "18000" in table
    assert re.search(r"^gender=很长的名字很长[^ ]*…", table, re.MULTILINE)


def test_a_long_verdict_is_folded_on_a_terminal_and_one_line_for_a_script(run):
    reasons = ("1 of 6 samples failed", "警告：" + "数据不完整" * 20, "word " * 30)
    summary = replace(summarise(run), verdict=Verdict("INVALID", reasons))
    folded = verdict_line(summary, 80).splitlines()
    assert folded[0].startswith("INVALID: 1 of 6 samples failed; 警告：数据")
    assert len(folded) > 3
    assert max(map(cells, folded)) <= 80
    assert verdict_line(summary).count("\n") == 0


def test_only_the_verdict_is_coloured(run, monkeypatch):
    # termcolor looks at the environment once.
    monkeypatch.setattr(console, "colored", partial(colored, force_color=True))
    summary = summarise(run)
    first = verdict_line(summary, 80)
    assert re.match(r"(\x1b\[\d+m)+INVALID\x1b\[0m: 1 of 6 samples failed", first)
    assert "\x1b" not in result_table(summary)
