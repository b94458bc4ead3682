"""The one block of text on everything that is wrong."""

import os

import pytest

from modeltest.errors import DataError
from modeltest.tasks.data import Problem, find_samples, report_problems


def test_counts_then_names_in_order():
    problems = [
        Problem("b.wav", "no label: 'x' is none of a, b"),
        Problem("a.wav", "not readable as audio (Format not recognised)"),
        Problem("c.wav", "no label: its name does not match label.pattern"),
    ]
    assert report_problems(problems) == (
        "3 clips cannot be evaluated (2 no label, 1 not readable as audio):\n"
        "  a.wav: not readable as audio (Format not recognised)\n"
        "  b.wav: no label: 'x' is none of a, b\n"
        "  c.wav: no label: its name does not match label.pattern"
    )


def test_twenty_are_named_and_the_rest_counted():
    problems = [Problem(f"{number:03d}.wav", "is empty") for number in range(118)]
    lines = report_problems(problems[::-1]).splitlines()
    assert lines[0] == "118 clips cannot be evaluated (118 is empty):"
    assert lines[1:21] == [f"  {number:03d}.wav: is empty" for number in range(20)]
    assert lines[21:] == ["  and 98 more"]


def test_exactly_twenty_need_no_rest():
    assert "more" not in report_problems([Problem(str(n), "is empty") for n in range(20)])


def test_one():
    assert report_problems([Problem("a", "is empty")]).startswith("1 clip cannot")


def test_a_fifo_in_place_of_a_table_does_not_block(write, task):
    root = write("a.flac")
    os.mkfifo(root / "labels.csv")
    with pytest.raises(DataError, match="not a regular file"):
        find_samples(task(root, label={"source": "table"}))
