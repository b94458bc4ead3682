import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltest.errors import one_line
from modeltest.reports.csv_files import csv_bytes, csv_text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\0"])
def test_formula_starts_are_quoted(start):
    assert csv_text(f"{start}cmd").startswith("'")


@pytest.mark.parametrize("text", ["C: Cough", "", "a=b", " =1", "答案是C"])
def test_other_text_is_untouched(text):
    assert csv_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("C\n=== 2 forged", "C\\n=== 2 forged"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("答案是C", "答案是C"),
    ],
)
def test_one_line_escapes_what_could_forge(text, shown):
    assert one_line(text) == shown


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_one_encodable_line(text):
    shown = one_line(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(shown.splitlines()) <= 1


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_csv_round_trip(cells):
    content = csv_bytes(("a",), [{"a": cell} for cell in cells])
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
    assert [row["a"] for row in rows] == [csv_text(cell) for cell in cells]
