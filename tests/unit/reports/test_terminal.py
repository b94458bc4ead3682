"""Text of a given width; a Chinese character takes two cells of a terminal."""

import os
import pty
import subprocess
import sys

import pytest

from modeltest.reports.terminal import cells, fold, shortened, table


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0), ("abc", 3), ("打喷嚏", 6), ("a打b", 4), ("é", 1), ("e\u0301", 1), ("ｆｕｌｌ", 8),
        ("–…·", 3),
    ],
)  # fmt: skip
def test_cells(text, width):
    assert cells(text) == width


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("打喷嚏声", 7, "打喷嚏…"),
        ("打喷嚏声", 6, "打喷…"),
    ],
)
def test_shortened(text, columns, shown):
    assert shortened(text, columns) == shown


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("one two three", "one two\n  three"),
        ("one two", "one two"),
        ("one  two  three", "one  two\n  three"),
        ("咳嗽与打喷嚏", "咳嗽与打\n  喷嚏"),
        ("a 咳嗽与打b", "a 咳嗽与\n  打b"),
        ("/a/path/that/is/long", "/a/path/that/is/long"),
        ("to /a/path/that/is/long now", "to /a/path/that/is/long\n  now"),
    ],
)
def test_fold_keeps_to_the_width_and_long_words_whole(text, folded):
    assert fold(text, 8, "  ") == folded


def test_a_path_may_be_folded_behind_slashes():
    assert fold("/one/two/three", 9, " ", at_slashes=True) == "/one/two/\n three"


def test_nothing_is_folded_for_a_script():
    assert fold("word " * 50, None) == "word " * 50


def test_columns_of_a_table_stand_below_each_other_in_chinese():
    lines = table([("name", "n")], [("咳嗽", "1"), ("sigh", "23")], {0}, 80).splitlines()
    assert lines == ["name   n", "----  --", "咳嗽   1", "sigh  23"]


def test_a_table_that_would_not_fit_has_one_blank_between_columns():
    headers, rows = [("a", "b")], [("x" * 40, "y" * 39)]
    assert table(headers, rows, {0, 1}, 80).splitlines()[2] == "x" * 40 + " " + "y" * 39
    assert table(headers, rows, {0, 1}, 81).splitlines()[2] == "x" * 40 + "  " + "y" * 39


COLUMNS_SHOWN = "from modeltest.reports.terminal import terminal_columns; print(terminal_columns())"


def test_without_a_terminal_there_is_no_width():
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", COLUMNS_SHOWN], capture_output=True, env=environment, check=True
    )
    assert done.stdout == b"None\n"


def test_a_terminal_has_one():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "72"}
    command = [sys.executable, "-c", COLUMNS_SHOWN]
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = os.read(ours, 100)
    os.close(ours)
    assert process.returncode == 0
    assert shown.strip() == b"72"
