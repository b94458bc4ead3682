"""Replies and names that try to run, to reach out or to mislead: a browser shows their text."""

import pytest
from playwright.sync_api import expect

from modeltest.errors import one_line

PAYLOADS = [
    "<script>window.owned = 1</script>",
    "</script><script>window.owned = 1</script>",
    "<!--<script>", "]]>", "\\u003c/script\\u003e",
    '"><img src=x onerror="window.owned = 1">',
    "<svg onload='window.owned = 1'>", "<iframe src=file:///etc/passwd>",
    "javascript:window.owned=1", "{{ 7 * 7 }}{n}", "__proto__", "constructor",
    "\u202egnp.exe\u2066", "a\u2028b\u2029c", "NUL\0inside", "lone \ud800 surrogate",
    "\x1b[2J", "\r\n=== forged",
]  # fmt: skip


def everywhere(text):
    """Puts a text wherever a model or a data folder could have put it."""

    def change(manifest, samples):
        for record in samples:
            record["response"]["text"] = text
            record["sample_id"] += text
            record["clips"] = [{**record["clips"][0], "name": text, "note": text}]
            record["subsets"] = [*record["subsets"], f"gender={text}"]
        samples[3]["response"]["error"] = text
        manifest["data"]["warnings"] = [text]
        manifest["prompt"]["rendered"] = manifest["device"]["name"] = text
        manifest["task"]["name"] = manifest["model"]["name"] = text

    return change


@pytest.fixture(scope="module")
def hostile_report(write_page):
    return write_page(18, everywhere("".join(PAYLOADS)))


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_nothing_runs_and_nothing_is_asked_for(opened, hostile_report, locale):
    here = opened(hostile_report, locale=locale)
    assert here.page.locator("#sample-table tbody tr:not(.gap)").count() == 18
    here.page.locator(".row-id").first.click()
    for _ in range(4):
        here.page.locator("#next").click()
    here.page.locator("#close").click()
    here.page.locator(".cell").first.click()
    assert here.page.evaluate("window.owned") is None
    assert here.page.locator("iframe, img, object, embed, link, base").count() == 0
    assert here.requests == [hostile_report.as_uri()]


def test_it_is_shown_as_it_is_with_escapes(opened, hostile_report):
    here = opened(hostile_report)
    text = one_line("".join(PAYLOADS))
    here.page.locator(".row-id").nth(1).click()
    expect(here.page.locator(".reply")).to_have_text(text)
    shown = here.page.locator("body").inner_text()
    assert not set(shown) & set("\u202e\u2066\u2028\u2029\0\x1b\ud800")


def test_a_text_from_right_to_left_turns_no_cell_beside_it(opened, write_page):
    here = opened(write_page(6, everywhere("שלום עולם (مرحبا)")))
    directions = here.page.locator("#sample-table td bdi").evaluate_all(
        "cells => cells.map(cell => getComputedStyle(cell).unicodeBidi)"
    )
    assert len(directions) >= 18
    assert set(directions) == {"isolate"}


def test_a_reply_of_100_kb_is_cut_and_hurts_nobody(opened, write_page):
    def lengthen(_manifest, samples):
        samples[0]["response"]["text"] = "<b>" + "x" * 100_000

    path = write_page(60, lengthen)
    assert path.stat().st_size < 200_000
    here = opened(path)
    here.page.locator(".row-id").first.click()
    expect(here.page.locator("#detail")).to_contain_text("90003 more characters are not shown")
    assert here.page.locator(".reply b").count() == 0
