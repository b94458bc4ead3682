"""What a reader does with report.html of an accuracy run."""

import pytest
from playwright.sync_api import expect

ROWS = "#sample-table tbody tr:not(.gap)"


def shown(opened, column):
    """The texts of a column of the rows that exist."""
    return opened.page.locator(f"{ROWS} td:nth-child({column})").all_inner_texts()


def test_the_verdict_and_all_samples_are_there_and_nothing_is_fetched(opened, report):
    here = opened(report)
    expect(here.page.locator(".verdict strong")).to_have_text("INVALID")  # one sample failed
    assert here.count == "60 of 60 samples"
    assert here.requests == [report.as_uri()]


def test_search_and_outcome_filter(opened, report):
    here = opened(report)
    here.page.get_by_label("Search").fill("HARD say")
    expect(here.page.locator("#count")).to_have_text("1 of 60 samples")
    assert shown(here, 1) == ["f0005_2_cough"]  # sample 32
    here.page.get_by_role("button", name="Show all").click()
    expect(here.page.locator("#count")).to_have_text("60 of 60 samples")
    here.page.get_by_label("Outcome").select_option(label="unparsed (1)")
    assert here.count == "1 of 60 samples"
    assert shown(here, 5) == ["It is hard to say"]
    here.page.get_by_label("Outcome").select_option(label="error (1)")
    assert shown(here, 4) == ["!error"]
    here.page.get_by_label("Outcome").select_option(label="not correct (8)")  # 6 + 1 + 1
    assert here.num_rows == 8


def test_a_slice_filters(opened, report):
    here = opened(report)
    here.page.locator("#slice").select_option(label="gender=female")
    assert here.count == "30 of 60 samples"


def test_a_cell_of_the_confusion_matrix_shows_its_samples(opened, report):
    here = opened(report)
    # Sample 9, 39 are throatclearing taken for sneeze; 19, 49 are sigh taken for cough.
    cell = here.page.get_by_role("button", name="truth throatclearing, answer sneeze: 2 samples")
    cell.click()
    assert here.count == "2 of 60 samples"
    assert shown(here, 1) == ["m0001_3_throatclearing", "m0006_3_throatclearing"]
    assert cell.get_attribute("aria-pressed") == "true"
    expect(here.page.locator("#samples-title")).to_be_focused()
    here.page.get_by_role("button", name="truth sigh, answer cough: 2 samples").click()
    assert shown(here, 3) == ["sigh", "sigh"]
    assert here.page.locator('.cell[aria-pressed="true"]').count() == 1


def test_sorting_says_so_and_turns(opened, report):
    here = opened(report)
    head = here.page.get_by_role("columnheader", name="e2e")
    button = head.get_by_role("button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    times = [float(text) for text in shown(here, 7)]
    assert times == sorted(times)
    button.focus()
    here.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    times = [float(text) for text in shown(here, 7)]
    assert times == sorted(times, reverse=True)


def test_a_sample_in_full_by_keyboard(opened, report):
    here = opened(report)
    first = here.page.locator(".row-id").first
    first.focus()
    here.page.keyboard.press("Enter")
    detail = here.page.get_by_role("dialog", name="f0000_0_laughter")
    expect(detail).to_be_visible()
    for text in ("A: laughter", "gender=female", "164 / 4", "10.000"):  # 10 + 3 sin 0
        expect(detail).to_contain_text(text)
    here.page.keyboard.press("ArrowRight")
    expect(here.page.locator("#detail-title")).to_have_text("m0000_1_sigh")
    here.page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    expect(here.page.locator(".row-id").nth(1)).to_be_focused()


def test_the_skip_link_is_first_and_focus_is_seen(opened, report):
    here = opened(report)
    here.page.keyboard.press("Tab")
    link = here.page.get_by_role("link", name="Skip to the content")
    expect(link).to_be_focused()
    assert link.evaluate("e => e.getBoundingClientRect().left") >= 0
    here.page.keyboard.press("Enter")
    expect(here.page.locator("#main")).to_be_focused()
    here.page.keyboard.press("Tab")
    outline = "e => getComputedStyle(e).outlineStyle"
    assert here.page.locator(":focus").evaluate(outline) == "solid"


def wave_heights(opened):
    path = opened.page.locator(".wave path").first.get_attribute("d")
    return [float(part.rpartition("v")[2]) for part in path.split("M")[1:]]


def test_a_waveform_is_drawn_of_the_logged_shape(opened, report, clips):
    here = opened(report)
    heights = wave_heights(here)
    assert len(heights) == len(clips[0]["envelope"]) == 48
    # The loudest stretch is the highest bar.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    levels = [alphabet.index(character) for character in clips[0]["envelope"]]
    assert heights[levels.index(max(levels))] == max(heights)


def test_a_log_without_shapes_has_a_page_without_waveforms(opened, write_page):
    def forget(_manifest, samples):
        for record in samples:
            clip = dict(record["clips"][0])
            del clip["envelope"]
            record["clips"] = [clip]

    here = opened(write_page(12, forget))
    assert here.count == "12 of 12 samples"
    assert here.page.locator(".wave").count() == 0


def play_first(opened):
    opened.page.get_by_role("button", name="Play ").first.click()


def wait_until_it_plays(opened):
    opened.page.wait_for_function("() => document.getElementById('audio').currentTime > 0.1")


def test_a_clip_is_played_from_its_file(opened, report, clips):
    here = opened(report)
    play_first(here)
    wait_until_it_plays(here)
    length = here.page.evaluate("document.getElementById('audio').duration")
    assert length == pytest.approx(clips[0]["duration_s"], abs=0.05)
    pause = here.page.get_by_role("button", name=f"Pause {clips[0]['name']}").first
    pause.click()
    assert here.page.evaluate("document.getElementById('audio').paused")


def test_a_moved_page_finds_the_clips_where_they_were(opened, report, tmp_path):
    moved = tmp_path / "deep" / "er" / "report.html"
    moved.parent.mkdir(parents=True)
    moved.write_bytes(report.read_bytes())
    here = opened(moved)
    play_first(here)
    wait_until_it_plays(here)
    assert not here.page.evaluate("document.getElementById('audio').paused")
    here.complaints.clear()  # the browser says that the first address led nowhere


def test_an_embedded_clip_needs_no_file(opened, write_page, tmp_path):
    def forget(manifest, _samples):
        manifest["data"].update(folder="/nowhere", folder_from_report="nowhere")

    path = write_page(6, forget, embed=True)
    here = opened(path)
    play_first(here)
    wait_until_it_plays(here)
    assert all(url.startswith(("file:", "blob:")) for url in here.requests)
    assert not any("nowhere" in url for url in here.requests)


def test_a_missing_clip_is_said(opened, write_page):
    def lose(manifest, _samples):
        manifest["data"].update(folder="/nowhere", folder_from_report="nowhere")

    here = opened(write_page(6, lose))
    play_first(here)
    expect(here.page.get_by_role("alert")).to_contain_text("cannot be played")
    here.complaints.clear()  # the browser's own words on the two addresses


def test_packed_data_has_no_player(opened, write_page):
    here = opened(write_page(6, lambda facts, _: facts["data"].update(layout="saved data set")))
    assert here.count == "6 of 6 samples"
    assert here.page.locator(".play").count() == 0
    assert here.page.locator(".wave").count() == 6


BRIGHTNESS = """() => getComputedStyle(document.body).backgroundColor
    .match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3"""


@pytest.mark.parametrize("name", ["report", "sweep_report"])
def test_dark_and_light(opened, request, name):
    here = opened(request.getfixturevalue(name), color_scheme="dark")
    assert here.page.evaluate(BRIGHTNESS) < 60
    here.page.get_by_label("Colours").select_option("light")
    assert here.page.evaluate(BRIGHTNESS) > 240
    here.page.get_by_label("Colours").select_option("system")
    assert here.page.evaluate(BRIGHTNESS) < 60


@pytest.mark.parametrize("name", ["report", "sweep_report"])
def test_a_chinese_browser_gets_chinese_and_may_switch(opened, request, name):
    here = opened(request.getfixturevalue(name), locale="zh-CN")
    assert here.page.evaluate("document.documentElement.lang") == "zh-Hans"
    expect(here.page.get_by_text("运行清单")).to_be_visible()
    left = here.page.locator("h2, dt, th [data-t]").all_inner_texts()
    known = {"torch, transformers", "modeltest", "F1"}
    assert [text for text in left if text and text.isascii() and text not in known] == []
    here.page.get_by_label("语言").select_option("en")
    expect(here.page.get_by_text("Manifest", exact=True)).to_be_visible()


def test_counts_and_cells_are_chinese_too(opened, report):
    here = opened(report, locale="zh-TW")
    assert here.count == "显示 60 个样本，共 60 个"
    here.page.get_by_role("button", name="真值 sigh，回答 cough：2 个样本").click()
    assert here.count == "显示 2 个样本，共 60 个"


def test_a_page_of_one_language_does_not_ask_the_browser(opened, write_page):
    here = opened(write_page(12, language="zh"), locale="en-US")
    assert here.count == "显示 12 个样本，共 12 个"


@pytest.mark.parametrize("name", ["report", "sweep_report"])
def test_a_narrow_window_does_not_scroll_sideways(opened, request, name):
    here = opened(request.getfixturevalue(name), size=(400, 800))
    root = here.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert root[0] <= root[1]


def test_print_has_the_rows_and_no_switches(opened, report):
    here = opened(report)
    here.page.emulate_media(media="print")
    here.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert here.page.locator(ROWS).count() == 60
    expect(here.page.locator(".switches")).to_be_hidden()
    expect(here.page.locator(".verdict")).to_be_visible()
