"""What a reader does with compare.html: flips first, both replies, the clip, two languages."""

import pytest
from playwright.sync_api import expect

ROWS = "#sample-table tbody tr:not(.gap)"
PAGES = ["comparison_page", "sweep_comparison_page", "transcripts_page"]
IDS = ["f0000_0_laughter", "m0001_1_sigh", "m0001_3_throatclearing", "m0003_1_sigh"]


def shown(opened, column):
    """The texts of a column of the rows that exist."""
    return opened.page.locator(f"{ROWS} td:nth-child({column})").all_inner_texts()


def test_the_flips_are_there_regressions_first_and_nothing_is_fetched(opened, comparison_page):
    here = opened(comparison_page)
    # One sample failed in both runs, so there is no verdict.
    expect(here.page.locator(".verdict strong")).to_have_text("INCONCLUSIVE")
    expect(here.page.locator(".verdict")).to_contain_text("A is INVALID: 1 of 60 samples failed")
    assert here.count == "4 of 4 samples"
    assert shown(here, 1) == ["−regression", "−regression", "+improvement", "≠other answer"]
    assert shown(here, 2) == IDS
    assert here.requests == [comparison_page.as_uri()]


def test_both_answers_and_replies_are_shown(opened, comparison_page):
    here = opened(comparison_page)
    # The third one is a throatclearing that A took for a sneeze.
    assert shown(here, 5)[2].split("\n") == ["✗sneeze", "E: sneeze"]
    assert shown(here, 6)[2].split("\n") == ["✓throatclearing", "D: throatclearing"]


def test_search_and_the_filter_of_changes(opened, comparison_page):
    here = opened(comparison_page)
    here.page.get_by_role("combobox", name="change").select_option(label="regression (2)")
    assert here.count == "2 of 4 samples"
    assert shown(here, 2) == IDS[:2]
    here.page.get_by_role("combobox", name="change").select_option(label="other answer (1)")
    assert shown(here, 2) == IDS[3:]
    here.page.get_by_role("button", name="Show all").click()
    expect(here.page.locator("#count")).to_have_text("4 of 4 samples")
    here.page.get_by_label("Search").fill("E: SNEEZE")
    expect(here.page.locator("#count")).to_have_text("2 of 4 samples")  # of A one, of B one
    assert shown(here, 2) == [IDS[0], IDS[2]]
    here.page.locator("#slice").select_option(label="gender=female")
    assert shown(here, 2) == IDS[:1]


def test_an_order_by_an_answer_and_back(opened, comparison_page):
    here = opened(comparison_page)
    head = here.page.get_by_role("columnheader", name="B: answer, reply")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    answers = [cell.split("\n")[0].lstrip("✓✗") for cell in shown(here, 6)]
    assert answers == ["cough", "laughter", "sneeze", "throatclearing"]


def test_a_sample_in_full_by_keyboard(opened, comparison_page):
    here = opened(comparison_page)
    here.page.locator(".row-id").first.focus()
    here.page.keyboard.press("Enter")
    detail = here.page.get_by_role("dialog", name=IDS[0])
    expect(detail).to_be_visible()
    for text in ("regression", "A: laughter", "E: sneeze", "gender=female", "10.000"):
        expect(detail).to_contain_text(text)
    expect(detail.get_by_role("columnheader", name="logit B")).to_be_visible()
    here.page.keyboard.press("ArrowRight")
    expect(here.page.locator("#detail-title")).to_have_text(IDS[1])
    here.page.keyboard.press("Escape")
    expect(here.page.locator(".row-id").nth(1)).to_be_focused()


def test_a_clip_is_played_from_its_file(opened, comparison_page, clips):
    here = opened(comparison_page)
    here.page.get_by_role("button", name="Play ").first.click()
    here.page.wait_for_function("() => document.getElementById('audio').currentTime > 0.1")
    length = here.page.evaluate("document.getElementById('audio').duration")
    assert length == pytest.approx(clips[0]["duration_s"], abs=0.05)
    # By the relative address: the first one led to the file.
    assert not [text for text in here.complaints if "ERR_FILE_NOT_FOUND" in text]
    here.page.get_by_role("button", name=f"Pause {clips[0]['name']}").first.click()
    assert here.page.evaluate("document.getElementById('audio').paused")


def test_a_run_is_opened_by_its_link(opened, comparison_page):
    here = opened(comparison_page)
    here.page.get_by_role("link", name="181200-ffffff").click()
    expect(here.page).to_have_title("INVALID – vocalsound – m")


def test_transcripts_that_are_apart_the_farthest_first(opened, transcripts_page):
    here = opened(transcripts_page)
    assert here.count == "3 of 3 samples"
    assert shown(here, 1)[0] == "m0001_1_sigh"  # failed in B
    assert shown(here, 4)[0] == "1.000"
    assert shown(here, 6)[0] == "error: boom"
    assert sorted(shown(here, 6)[1:]) == ["they cough twice", "they sneeze five times"]
    here.page.get_by_label("Search").fill("FIVE")
    expect(here.page.locator("#count")).to_have_text("1 of 3 samples")
    here.page.locator(".row-id").first.click()
    expect(here.page.get_by_role("dialog")).to_contain_text("they sniff once")


BRIGHTNESS = """() => getComputedStyle(document.body).backgroundColor
    .match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3"""


@pytest.mark.parametrize("name", PAGES)
def test_dark_and_light(opened, request, name):
    here = opened(request.getfixturevalue(name), color_scheme="dark")
    assert here.page.evaluate(BRIGHTNESS) < 60
    here.page.get_by_label("Colours").select_option("light")
    assert here.page.evaluate(BRIGHTNESS) > 240


@pytest.mark.parametrize("name", PAGES)
def test_a_chinese_browser_gets_chinese_and_may_switch(opened, request, name):
    here = opened(request.getfixturevalue(name), locale="zh-CN")
    assert here.page.evaluate("document.documentElement.lang") == "zh-Hans"
    expect(here.page.get_by_text("A 的运行清单")).to_be_visible()
    left = here.page.locator("h1, h2, dt, th [data-t], .filters label").all_inner_texts()
    assert [text for text in left if text and text.isascii()] == []
    here.page.get_by_label("语言").select_option("en")
    expect(here.page.get_by_text("Manifest of A", exact=True)).to_be_visible()


def test_rows_and_counts_are_chinese_too(opened, comparison_page):
    here = opened(comparison_page, locale="zh-CN")
    assert here.count == "显示 4 个样本，共 4 个"
    assert shown(here, 1) == ["−退步", "−退步", "+进步", "≠其他回答"]
    here.page.locator(".row-id").first.click()
    expect(here.page.get_by_role("dialog")).to_contain_text("领先幅度")


def test_a_page_of_one_language_does_not_ask_the_browser(opened, write_comparison_page):
    path = write_comparison_page(lambda *_: None, 12, language="zh")
    here = opened(path, locale="en-US")
    expect(here.page.get_by_text("没有样本发生变化")).to_be_visible()


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_window_does_not_scroll_sideways(opened, request, name):
    here = opened(request.getfixturevalue(name), size=(400, 800))
    root = here.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert root[0] <= root[1]


def test_3600_changed_samples_scroll_to_the_last(opened, long_comparison_page):
    assert long_comparison_page.stat().st_size < 3_000_000
    here = opened(long_comparison_page)
    # One in ten is right in neither run: its answer changes and stays wrong.
    assert here.count == "3,600 of 3,600 samples"
    here.page.locator("#rows").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    here.page.locator('#sample-table tr[aria-rowindex="3601"] .row-id').wait_for()
    assert here.page.locator(ROWS).count() < 80


@pytest.fixture(scope="module")
def hostile_page(write_comparison_page):
    text = "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>\u202e"

    def put(facts, samples):
        for record in samples:
            record["response"]["text"] = text
            record["sample_id"] += text
            record["clips"] = [{**record["clips"][0], "name": text, "note": text}]
            record["subsets"] = [*record["subsets"], f"gender={text}"]
        facts["task"]["name"] = facts["model"]["name"] = facts["device"]["name"] = text

    def change(_facts, samples):
        for record in samples:
            record["score"].update(answer="sneeze", correct=record["truth"] == "sneeze")

    return write_comparison_page(change, 18, prepare=put)


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_hostile_replies_are_inert(opened, hostile_page, locale):
    here = opened(hostile_page, locale=locale)
    here.page.locator(".row-id").first.click()
    expect(here.page.locator(".reply").first).to_contain_text("<script>window.owned = 1</script>")
    here.page.locator("#next").click()
    here.page.locator("#close").click()
    assert here.page.evaluate("window.owned") is None
    assert here.page.locator("iframe, img, object, embed, link, base").count() == 0
    assert here.requests == [hostile_page.as_uri()]
    assert "\u202e" not in here.page.locator("body").inner_text()
