"""`compare.html` of performance runs: the ratio of each point, its interval and its verdict."""

import re

import pytest
from page_reader import INVISIBLE, Page

from modeltest.reports.comparison.axis import LEFT, WIDTH, axis_around
from modeltest.reports.comparison.sweeps import compare_sweeps
from modeltest.reports.comparison.sweeps_files import write_sweep_comparison
from modeltest.reports.performance.summary import summarise_sweep

HOSTILE = "</script><script>alert(1)</script>\u202e\0"


@pytest.fixture
def page_of(make_sweep, tmp_path):
    """The page of the hand-made sweep and of the same one after a change, and its text."""

    def make(change, tolerance=0.05, language=None):
        pair = [
            (sweep, summarise_sweep(sweep))
            for sweep in (make_sweep(output="a"), make_sweep(change, output="b"))
        ]
        comparison = compare_sweeps(*pair, tolerance)
        paths = write_sweep_comparison(comparison, tuple(pair), tmp_path / "out", language)
        return paths["page"].read_bytes()

    return make


def slower(factor):
    """Makes every round take longer, alike in each."""

    def change(_, logged):
        for record in logged:
            if record["type"] == "round":
                for batch in record["batches"]:
                    batch["e2e_s"] *= factor
                    for name in ("feature_s", "encoder_s", "prefill_s", "ttft_s", "detokenize_s"):
                        batch[name] *= factor
                    batch["step_s"] = [factor * step for step in batch["step_s"]]

    return change


def test_each_point_has_its_ratio_and_a_verdict(page_of):
    content = page_of(slower(1.25)).decode()
    text = Page(content.encode()).text
    assert re.search(r'<div class="verdict FAIL"><strong>FAIL</strong>', content)
    rows = re.findall(r"<td>0\.800</td><td>0\.\d{3} – 0\.\d{3}</td>", content)
    assert len(rows) == 6  # three batch sizes, two modes; 1 / 1.25 = 0.8
    assert content.count('<span class="word FAIL">FAIL</span>') == 6
    assert content.count('<svg class="bar wider"') == 6
    assert "PASS: B has at least 0.95 of A's throughput" in text


def test_what_differs_and_what_is_missing(page_of):
    def change(manifest, _):
        manifest["sweep"].update(batch_sizes=[1, 2])
        manifest["dtype"] = manifest["identity"]["backend"]["dtype"] = "fp16"

    content = page_of(change).decode()
    assert (
        '<th scope="row">dtype</th><td class="long">bf16</td><td class="long">fp16</td>' in content
    )
    assert "<li>bs 4 fixed is in A only</li>" in content


def test_a_verdict_that_is_withheld_says_why(page_of):
    failure = {"type": "point_failure", "batch_size": 4, "mode": "fixed", "reason": HOSTILE}
    content = page_of(lambda _, logged: logged.append(failure))
    page = Page(content)
    assert "no verdict" in page.text
    assert "bs 4 fixed: </script><script>alert(1)</script>\\u202e\\x00" in page.text
    assert page.tags.count("script") == 2  # its words and its script
    assert not set(content.decode()) & INVISIBLE


def test_it_has_both_languages(page_of):
    content = page_of(slower(1.0), language="zh").decode()
    assert '<html lang="zh-Hans" data-fixed>' in content
    assert "各点的吞吐量" in content


def test_the_axis_holds_all_values():
    axis = axis_around([0.95, 1.0, 1.45])
    assert (axis.low, axis.high) == pytest.approx((0.91, 1.49))
    assert float(axis.place(1.2)) == pytest.approx(LEFT + WIDTH / 2)
