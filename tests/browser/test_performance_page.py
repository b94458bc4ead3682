"""What a reader sees of the plots in report.html of a performance run."""

import itertools
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

PLOTS = 'main svg[role="img"]'
TITLES = {
    "en": ["Throughput", "Latency", "Where the time goes", "Roofline"],
    "zh": ["吞吐量", "延迟", "时间花在哪里", "屋顶线（roofline）"],
}
LOCALES = {"en": "en-US", "zh": "zh-CN"}
# The brightness of what is painted, from 0 to 255, and nothing of what is not.
PAINTED = """([selector, part]) => [...document.querySelectorAll(selector)]
    .map(each => getComputedStyle(each)[part]).filter(paint => paint.startsWith("rgb"))
    .map(paint => paint.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3)"""
BOXES = """plot => [plot, ...plot.querySelectorAll("text")].map(each => {
    const box = each.getBoundingClientRect();
    return [each.textContent.slice(0, 40), box.left, box.top, box.right, box.bottom]; })"""


def titles(here):
    return here.page.locator(f"{PLOTS} text[font-weight]").all_text_contents()


def brightness(here, selector, part):
    found = here.page.evaluate(PAINTED, [selector, part])
    return min(found), max(found)


def test_four_plots_are_drawn_and_nothing_is_fetched(opened, sweep_report):
    here = opened(sweep_report)
    assert here.page.locator(PLOTS).count() == 4
    for plot in here.page.locator(PLOTS).all():
        box = plot.bounding_box()
        assert box["width"] > 400
        assert 0.5 < box["height"] / box["width"] < 0.7
    assert here.requests == [sweep_report.as_uri()]
    assert sweep_report.as_uri().startswith("file:")


def test_the_figures_are_there_for_those_who_cannot_see_them(opened, sweep_report):
    here = opened(sweep_report)
    # 8 tokens in 0.12 s; 4 * 8 tokens in 0.18 s.
    throughput = here.page.get_by_role("img", name="Throughput: output tokens per second")
    name = throughput.get_attribute("aria-label")
    assert "1 fixed: 66.7;" in name
    assert "4 fixed: 178;" in name
    for plot in here.page.locator(PLOTS).all():
        expect(plot).to_have_role("img")
        assert len(plot.get_attribute("aria-label")) > 60


def test_the_words_follow_the_language(opened, sweep_report):
    here = opened(sweep_report)
    assert titles(here) == TITLES["en"]
    labels = here.page.locator(PLOTS).evaluate_all("all => all.map(each => each.ariaLabel)")
    here.page.get_by_label("Language").select_option("zh")
    assert titles(here) == TITLES["zh"]
    expect(here.page.get_by_text("每秒输出词元", exact=True)).to_be_visible()
    expect(here.page.get_by_text("natural：首个词元 (TTFT)", exact=True)).to_be_visible()
    here.page.get_by_role("img", name="延迟：各批大小和模式").wait_for()
    words = here.page.locator(f"{PLOTS} text[data-t]").all_text_contents()
    terms = r"fixed|natural|TFLOP/s|GB/s|FLOP/B|e2e|TTFT|roofline"
    assert [word for word in words if re.search("[A-Za-z]", re.sub(terms, "", word))] == []
    here.page.get_by_label("语言").select_option("en")
    assert titles(here) == TITLES["en"]
    assert labels == here.page.locator(PLOTS).evaluate_all("all => all.map(e => e.ariaLabel)")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_words_are_whole_and_apart(opened, sweep_report, language):
    here = opened(sweep_report, locale=LOCALES[language])
    assert titles(here) == TITLES[language]
    for plot in here.page.locator(PLOTS).all():
        outer, *words = plot.evaluate(BOXES)
        assert len(words) > 10
        for word, left, top, right, bottom in words:
            assert left >= outer[1] - 1, word
            assert top >= outer[2] - 1, word
            assert right <= outer[3] + 1, word
            assert bottom <= outer[4] + 1, word
        for one, other in itertools.combinations(words, 2):
            across = min(one[3], other[3]) - max(one[1], other[1])
            along = min(one[4], other[4]) - max(one[2], other[2])
            # A box has the font's whole height, of which no letter of ours needs the last part.
            assert across < 1 or along < 4, (one[0], other[0])


def test_the_colours_follow_the_page(opened, sweep_report):
    here = opened(sweep_report, color_scheme="dark")
    lines = f"{PLOTS} path[clip-path]"
    assert brightness(here, f"{PLOTS} text", "fill")[0] > 150
    dark_lines = brightness(here, lines, "stroke")
    here.page.get_by_label("Colours").select_option("light")
    assert brightness(here, f"{PLOTS} text", "fill")[1] < 110
    assert brightness(here, lines, "stroke")[0] < 60  # of the ink, 29 to 51
    assert dark_lines[1] > 200
    here.page.get_by_label("Colours").select_option("dark")
    assert brightness(here, f"{PLOTS} text", "fill")[0] > 150
    assert brightness(here, lines, "stroke") == dark_lines


def test_a_dark_page_is_printed_as_a_light_one(opened, sweep_report):
    here = opened(sweep_report)
    bars = 'path[fill*="--plot-blue"]'
    light = here.page.evaluate(PAINTED, [bars, "fill"])
    here.page.get_by_label("Colours").select_option("dark")
    assert here.page.evaluate(PAINTED, [bars, "fill"]) != light
    here.page.emulate_media(media="print", color_scheme="dark")
    assert here.page.evaluate(PAINTED, [bars, "fill"]) == light
    assert brightness(here, f"{PLOTS} text", "fill")[1] < 110


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_grave_in_chinese(opened, sweep_report, scheme):
    here = opened(sweep_report, locale="zh-CN", color_scheme=scheme)
    assert titles(here) == TITLES["zh"]
    found = Axe().run(here.page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in {"serious", "critical"}] == []


def test_without_scripts_the_plots_are_drawn_in_english(opened, sweep_report):
    here = opened(sweep_report, java_script_enabled=False, locale="zh-CN")
    assert titles(here) == TITLES["en"]
