"""The pages' words: the same in both languages, all there, none left over."""

import re
from pathlib import Path

import pytest

import modeltest.reports
from modeltest.reports.page.texts import all_texts, make_texts

FOLDER = Path(modeltest.reports.__file__).parent
SOURCES = "".join(
    path.read_text(encoding="utf-8")
    for pattern in ("*.j2", "page/*.js", "*html.py", "*plot*.py", "changed_columns.py")
    for path in FOLDER.rglob(pattern)
)
# Keys that are put together: `status.` and what a sample came to, and so on.
FAMILIES = (
    "status.", "validity.", "theme.", "metric.", "compare.outcome.", "compare.significance.",
)  # fmt: skip


def test_both_languages_have_the_same_texts_with_the_same_values():
    texts = all_texts()
    assert texts["en"].keys() == texts["zh"].keys()
    for key, english in texts["en"].items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(
            re.findall(r"\{\w+\}", texts["zh"][key])
        ), key


def test_every_text_that_a_page_names_is_there():
    call = r"""\b(?:t|label|marked|word|say|Phrase)\(["']([\w.]+)["'][,)]"""
    named = set(re.findall(call, SOURCES))
    assert len(named) > 80
    assert named <= all_texts()["en"].keys()


def test_no_text_is_left_over():
    left = {key for key in all_texts()["en"] if not key.startswith(FAMILIES)}
    assert {key for key in left if f'"{key}"' not in SOURCES and f"'{key}'" not in SOURCES} == set()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_values_are_filled_in(language):
    assert re.search(r"\b7\b.*\b9\b", make_texts(language).word("count", shown=7, n=9))
