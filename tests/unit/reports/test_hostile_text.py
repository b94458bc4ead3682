"""Names and replies that try to be more than text."""

import csv
import io
from html.parser import HTMLParser

import pandas
import pytest

from modeltest.reports.csv_files import samples_csv
from modeltest.reports.html import report_html
from modeltest.reports.summary import summarise
from modeltest.reports.text import output_text

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1+1)",
    "\tcell",
    "\rcell",
    "\0=1+1",
    "a\n=== 2 forged\noutput: C",
    "a\r\nb",
    "\x1b]0;title\x07\x1b[2J",
    "NUL\0inside",
    "lone \ud800 surrogate",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066",
    "line\u2028separator\x85",
    '"quoted", and more',
]
UNSAFE_IN_A_TERMINAL = {chr(n) for n in (*range(32), *range(0x7F, 0xA0))} | set(
    "\u202e\u2066\u2028"
)


@pytest.fixture(params=HOSTILE, ids=lambda text: ascii(text)[:20])
def hostile(request):
    return request.param


def put(text, manifest, samples):
    """Puts the text wherever data or a model could."""
    for record in samples[2:5]:
        record["response"]["text"] = text
    samples[2]["sample_id"] = text
    samples[2]["clips"][0]["name"] = text
    samples[3]["response"]["input_text"] = text
    samples[4]["response"]["error"] = text
    manifest["data"]["warnings"].append(text)
    manifest["prompt"]["rendered"] = text


@pytest.fixture
def hostile_run(make_run, hostile):
    return make_run(lambda manifest, samples: put(hostile, manifest, samples))


def test_in_csv_it_is_one_cell_and_no_formula(hostile_run):
    content = b"".join(samples_csv(hostile_run, summarise(hostile_run)))
    assert b"\0" not in content
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    assert len(rows) == 6
    assert rows[5]["sample_id"] == "f1_0_sneeze"
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\0"))
    read = pandas.read_csv(io.BytesIO(content))
    assert list(read["correct"]) == [True, True, False, False, False, True]


def test_in_text_it_forges_no_line_and_steers_no_terminal(hostile_run):
    text = b"".join(output_text(hostile_run, summarise(hostile_run))).decode("utf-8")
    assert not (set(text) - {"\n"}) & UNSAFE_IN_A_TERMINAL
    lines = text.split("\n")
    assert lines.pop() == ""
    # The verdict, four lines for each of six samples, and the line of the one error.
    assert len(lines) == 1 + 6 * 4 + 1
    assert [line.split()[1] for line in lines if line.startswith("=== ")] == list("123456")


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def test_in_html_it_is_text(make_run):
    hostile_run = make_run(lambda manifest, samples: put("".join(HOSTILE), manifest, samples))
    page = Page(report_html(hostile_run, summarise(hostile_run)).decode("utf-8"))
    assert {"body", "table"} <= page.tags
    assert "img" not in page.tags
    assert not any(name.startswith("on") or name == "src" for name in page.attributes)
    assert not (set(page.text) - {"\n"}) & UNSAFE_IN_A_TERMINAL
