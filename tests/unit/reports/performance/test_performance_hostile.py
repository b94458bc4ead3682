"""Names and messages that try to be more than text."""

import csv
import io
from html.parser import HTMLParser

import pytest

from modeltest.reports.performance.console import sweep_text
from modeltest.reports.performance.csv_files import benchmark_csv, performance_csv
from modeltest.reports.performance.files import add_sweep_to_index
from modeltest.reports.performance.html import performance_html
from modeltest.reports.performance.plot_words import Phrase
from modeltest.reports.performance.plots import Plot, sweep_plots
from modeltest.reports.performance.summary import summarise_sweep

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "\tcell",
    "\0=1+1",
    "a\r\nb,c",
    "\x1b]0;title\x07\x1b[2J",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{0}$ $x_$",
    "\u202egnp.exe\u2066 \u2028",
    "语音模型" * 40,
]


def put(text, manifest, logged):
    """Puts the text wherever a log or a manifest has free text."""
    manifest["device"]["name"] = text
    manifest["model"]["name"] = text
    manifest["engine"] = manifest["attention"] = manifest["dtype"] = text
    manifest["prompt"]["rendered"] = text
    manifest["clips"][0]["name"] = text
    manifest["data"]["warnings"] = [text]
    for record in logged:
        if record["type"] == "peaks":
            record["source"] = text
        if record["type"] == "round" and (record["batch_size"], record["pass"]) == (2, 0):
            record["batches"][0]["errors"] = [text]
            record["batches"][0]["outputs_sha256"] = text
    failure = {"type": "point_failure", "batch_size": 4, "mode": "fixed"}
    logged.append({**failure, "reason": text})


@pytest.fixture(params=HOSTILE, ids=lambda text: ascii(text)[:20])
def sweep_and_summary(request, make_sweep, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    content = make_sweep(lambda manifest, logged: put(request.param, manifest, logged))
    return content, summarise_sweep(content)


def test_in_csv_it_is_one_cell_and_no_formula(sweep_and_summary):
    content, summary = sweep_and_summary
    add_sweep_to_index(content, summary)
    index = (content.folder.parents[4] / "index.csv").read_bytes()
    tables = ((benchmark_csv(summary), 6), (performance_csv(summary), 2), (index, 1))
    for table, num_rows in tables:
        text = table.decode("utf-8")
        assert "\0" not in text
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        assert len(rows) == num_rows
        for row in rows:
            assert None not in row
            for cell in row.values():
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\0"))


def test_in_the_console_it_forges_no_line(sweep_and_summary):
    summary = sweep_and_summary[1]
    text = sweep_text(summary)
    unsafe = {chr(n) for n in (*range(32), *range(0x7F, 0xA0))} | set("\u202e\u2066\u2028")
    assert not (set(text) - {"\n"}) & unsafe
    lines = text.split("\n")
    assert len([line for line in lines if line]) == 1 + 3 + 6 + 5 + (
        1 + len(summary.verdict.reasons)
    )


def test_in_the_page_it_makes_no_element(sweep_and_summary):
    content, summary = sweep_and_summary
    told = content.manifest["prompt"]["rendered"]
    alt = Phrase("perf.alt.throughput", {"points": told})
    svg = b'<svg viewBox="0 0 1 1"><text>drawn</text></svg>'
    word = {"drawn": Phrase("perf.plot.e2e", {"mode": told})}
    plot = Plot(alt, Phrase("perf.plot.throughput_how"), b"png", svg, word)
    text = performance_html(content, summary, {"throughput": plot}).decode("utf-8")

    class Tags(HTMLParser):
        def __init__(self):
            super().__init__()
            self.seen = set()
            self.scripts = 0

        def handle_starttag(self, tag, attributes):
            self.seen.add(tag)
            self.scripts += tag == "script"
            assert not any(name.startswith("on") for name, _ in attributes)

    page = Tags()
    page.feed(text)
    assert "table" in page.seen
    assert page.scripts == 2  # the texts and the code
    assert not page.seen & {"iframe", "object", "link", "img"}
    assert "49" not in text.split(">prompt</span></dt>")[1].split("</dd>")[0]


@pytest.mark.parametrize("text", [HOSTILE[3], HOSTILE[-3], HOSTILE[-1]], ids=["NUL", "$", "long"])
def test_plots_are_drawn_all_the_same(make_sweep, text):
    content = make_sweep(lambda manifest, logged: put(text, manifest, logged))
    plots = sweep_plots(content, summarise_sweep(content))
    assert len(plots) == 4
    assert all(plot.png.startswith(b"\x89PNG") for plot in plots.values())
