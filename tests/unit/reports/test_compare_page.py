"""`compare.html` of accuracy runs: flips in order, the console's words, inert text, its size."""

import copy
import os
import re
from urllib.parse import unquote

import pytest
from accuracy_runs import Asked, replies, write_run
from page_reader import INVISIBLE, Page

from modeltest.reports.comparison.accuracy import compare_accuracy
from modeltest.reports.comparison.accuracy_files import write_comparison
from modeltest.reports.comparison.accuracy_html import accuracy_html
from modeltest.reports.comparison.accuracy_text import accuracy_text
from modeltest.reports.comparison.axis import LEFT, WIDTH, Axis
from modeltest.reports.page.sample_columns import MAX_SAMPLES
from modeltest.reports.summary import summarise
from modeltest.runlog.run_log import RunContent, read_run

#        laughter, cough, sneeze, …
FIRST = "++++++--?"
SECOND = "+-+-++-+-"  # two regressions, one improvement; sample 9 has an answer now
BIG = 600
HOSTILE = "</script><script>alert(1)</script><!--\u202e\u2066\u2028\0\x1b[2J&lt;{{ 7 * 7 }}"


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two runs and their comparison; `change(manifest, samples)` alters B, or both."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run_of(side, asked, change):
        asked = replies(asked) if isinstance(asked, str) else asked
        run_id = {"a": "174503-0a1b2c", "b": "181200-ffffff"}[side]
        number = len([*tmp_path.glob(f"{side}*")])  # two in one folder would share a log
        run = read_run(write_run(tmp_path / f"{side}{number}", asked, run_id))
        manifest, samples = copy.deepcopy(run.manifest), copy.deepcopy([*run.samples])
        change(manifest, samples)
        return RunContent(run.folder, manifest, tuple(samples))

    def make(first=FIRST, second=SECOND, change=lambda *_: None, of_both=False, **options):
        change_first = change if of_both else lambda *_: None
        runs = run_of("a", first, change_first), run_of("b", second, change)
        sides = [(run, summarise(run)) for run in runs]
        return runs, compare_accuracy(*sides, options.pop("margin", 0.01), **options)

    return make


@pytest.fixture
def page_of(pair, tmp_path):
    """The page of such a pair, as bytes."""

    def make(*arguments, language=None, **options):
        runs, comparison = pair(*arguments, **options)
        return accuracy_html(comparison, runs, tmp_path / "out" / "comparison" / "x", language)

    return make


class TestSamples:
    def test_they_stand_regressions_first(self, page_of):
        samples = Page(page_of()).samples
        assert samples["index"] == [1, 3, 7, 8]
        assert samples["change"] == ["r", "r", "i", "o"]
        assert samples["id"] == [
            "f0001_1_cough", "f0003_3_laughter", "f0007_7_cough", "f0008_8_sneeze",
        ]  # fmt: skip

    def test_both_sides_are_told(self, page_of):
        samples = Page(page_of()).samples
        assert samples["labels"] == ["laughter", "cough", "sneeze"]
        assert samples["truth"] == [1, 0, 1, 2]
        first, second = samples["sides"]
        # Wrong is the next label; the last sample was not parsed in A.
        assert first["answer"] == [1, 0, 2, None]
        assert second["answer"] == [2, 1, 1, 0]
        assert first["text"][:2] == ["It is a cough.", "It is a laughter."]
        assert second["text"][3] == "It is a laughter."

    def test_margins_and_logits(self, page_of):
        content = page_of(
            [Asked("f1_0_cough", "cough", logits=(1.5, 4.0, -2.0))],
            [Asked("f1_0_cough", "sneeze", logits=(1.5, 3.0, 3.25))],
        )
        first, second = Page(content).samples["sides"]
        assert (first["margin"], second["margin"]) == ([2.5], [0.25])
        assert second["logits"] == [[1.5, 3.0, 3.25]]

    def test_a_failed_sample_has_its_error(self, page_of):
        samples = Page(page_of("+++", "+!+")).samples
        assert samples["sides"][1]["error"] == ["boom"]

    def test_the_filter_counts_them(self, page_of):
        options = re.findall(r'<option value="([rio])"[^>]*>([^<]*)<', page_of().decode())
        assert options == [
            ("r", "regression (2)"), ("i", "improvement (1)"), ("o", "other answer (1)"),
        ]  # fmt: skip

    def test_without_any_there_is_no_table(self, page_of):
        content = page_of("+++", "+++").decode()
        assert "No sample changed" in content
        assert 'id="rows"' not in content

    def test_of_very_many_the_first_are_shown(self, page_of):
        number = MAX_SAMPLES + 2
        content = page_of("-" * number, "+-" + "+" * (number - 2))
        assert len(Page(content).samples["id"]) == MAX_SAMPLES
        assert f"The page has {MAX_SAMPLES} of {number - 1} changed samples" in content.decode()


def test_flips_come_before_slices_differences_and_manifests(page_of):
    found = re.findall(r'id="([a-z]+-title)"|<summary><span data-t="([a-z.]+)"', page_of().decode())
    assert [one or other for one, other in found] == [
        "runs-title", "samples-title", "slices-title", "needed-title", "different-title",
        "compare.manifest", "compare.manifest", "detail-title",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("second", "margin", "said"),
    [
        ("+" * BIG, 0.01, "PASS: B is not more than 1 point less accurate than A"),
        (
            "-" * 60 + "+" * (BIG - 60),
            0.005,
            "FAIL: B is more than 0.5 points less accurate than A",
        ),
        (
            "-" * 8 + "+" * (BIG - 8),
            0.01,
            "INCONCLUSIVE: these samples do not tell whether B is more than 1 point less "
            "accurate than A",
        ),
    ],
)
def test_the_verdict_is_that_of_the_console(pair, tmp_path, second, margin, said):
    runs, comparison = pair("+" * BIG, second, margin=margin)
    assert accuracy_text(comparison).splitlines()[0] == said
    content = accuracy_html(comparison, runs, tmp_path).decode()
    word, _, sentence = said.partition(": ")
    assert f"<title>{word} – 174503-0a1b2c, 181200-ffffff</title>" in content
    [banner] = re.findall(r'<div class="verdict (.*?)</div>', content, flags=re.DOTALL)
    assert banner.startswith(f'{word}"><strong>{word}</strong>')
    assert f">{sentence}</span>" in banner


def test_a_verdict_that_is_withheld_has_its_reasons_and_no_sentence(page_of):
    content = page_of("+" * BIG, "!" + "+" * (BIG - 1)).decode()
    [banner] = re.findall(r'<div class="verdict (.*?)</div>\n</div>', content, flags=re.DOTALL)
    assert "<strong>INCONCLUSIVE</strong>" in banner
    assert ">no verdict</span>" in banner
    assert '<div class="reason">B is INVALID: 1 of 600 samples failed' in banner
    assert "these samples do not tell" not in content.partition("<main")[0]


def test_figures_by_hand(page_of):
    content = page_of()
    text = " ".join(Page(content).text.split())
    # 6 and 5 of 9; two coins of three or more are always alike, so p is 1.
    for figure in ("66.67 %", "55.56 %", "-11.11", "-2 +1", "p = 1", "174503-0a1b2c"):
        assert figure in text
    # Of the coughs, samples 1, 4 and 7, A knows the first two.
    row = r'<th scope="row" class="text">class=cough</th><td>3</td><td>66\.67 '
    assert re.search(row, content.decode())


def test_what_differs_is_a_table(page_of):
    def change(manifest, _samples):
        manifest["device"]["name"] = "NVIDIA A100"

    content = page_of(change=change).decode()
    row = '<tr><th scope="row">device</th><td class="long">Ascend 910B4</td>'
    assert f'{row}<td class="long">NVIDIA A100</td></tr>' in content
    nothing = '<p><span data-t="compare.different.none">'
    assert nothing not in content
    assert nothing in page_of().decode()


def test_both_manifests_are_there(page_of):
    text = Page(page_of()).text
    assert text.count('"run_id": "174503-0a1b2c"') == 1
    assert text.count('"run_id": "181200-ffffff"') == 1


def test_hostile_text_ends_no_element_and_steers_nothing(page_of):
    def put(manifest, samples):
        for record in samples:
            record["response"]["text"] += HOSTILE
            record["sample_id"] += HOSTILE
            record["clips"][0].update(name=HOSTILE, envelope=HOSTILE, note=HOSTILE)
            record["subsets"].append(f"gender={HOSTILE}")
        samples[8]["response"]["error"] = HOSTILE
        for name in ("task", "model"):
            manifest[name]["name"] = HOSTILE
        manifest["device"]["name"] = HOSTILE
        manifest["place"]["run_id"] = HOSTILE
        manifest["data"].update(folder=HOSTILE, folder_from_report=HOSTILE, layout="folder")

    plain, content = Page(page_of()), page_of(change=put, of_both=True)
    page = Page(content)
    assert not set(content.decode("utf-8")) & INVISIBLE
    assert page.tags.count("script") == plain.tags.count("script")
    said = page.samples["sides"][0]["text"][0]
    assert said.startswith("It is a cough.</script><script>alert(1)</script>")
    assert said.endswith("\\u202e\\u2066\\u2028\\x00\\x1b[2J&lt;{{ 7 * 7 }}")
    assert page.samples["sides"][1]["error"][3].startswith("</script><script>alert(1)")
    assert page.samples["clips"][0][0][3] == ""  # no shape
    assert {name for name, _ in page.attributes} & {"src", "style", "onclick", "onerror"} == set()


def test_3600_changed_samples_stay_below_3_mb(page_of):
    def fill(_manifest, samples):
        for record in samples:
            record["clips"][0]["envelope"] = "Zz09" * 12
            record["response"]["option_logits"] = [-11.8125, 3.0625, -0.5, 7.25, 1.125, 12.5]

    content = page_of("+" * 3600, "-" * 3600, change=fill, of_both=True)
    assert len(Page(content).samples["id"]) == 3600
    assert len(content) < 3_000_000


def test_long_replies_of_two_runs_stay_below_3_mb_too(page_of):
    def fill(_manifest, samples):
        for record in samples:
            record["response"]["text"] = "打喷嚏的声音" * 100

    content = page_of("+" * 3600, "-" * 3600, change=fill, of_both=True)
    first, second = Page(content).samples["sides"]
    assert first["left_out"] == second["left_out"] == [540] * 3600
    assert len(content) < 3_000_000


def test_the_language_is_that_of_the_option(page_of):
    content = page_of(language="zh").decode()
    assert '<html lang="zh-Hans" data-fixed>' in content
    assert "有变化的样本" in content


class TestFiles:
    def test_the_page_stands_beside_the_tables(self, pair, tmp_path):
        runs, comparison = pair()
        paths = write_comparison(comparison, runs, tmp_path / "out")
        assert paths["page"] == paths["flips"].parent / "compare.html"
        assert paths["page"].read_bytes() == accuracy_html(comparison, runs, paths["page"].parent)

    def test_clips_are_named_from_the_pages_own_folder(self, pair, tmp_path):
        data = tmp_path / "data a#b"

        def place(manifest, _samples):
            runs = tmp_path / "a0" / "2025-03-09" / "modeltest" / "m" / "precision_result" / "runs"
            folder = os.path.relpath(data, runs / "174503-0a1b2c")
            manifest["data"].update(folder=str(data), folder_from_report=folder, layout="folder")

        runs, comparison = pair(change=place, of_both=True)
        page = write_comparison(comparison, runs, tmp_path / "out")["page"]
        relative, absolute = Page(page.read_bytes()).samples["folders"][:2]
        assert not relative.startswith(("/", "file:"))
        assert os.path.normpath(page.parent / unquote(relative)) == str(data)
        assert unquote(absolute) == f"file://{data}"

    def test_runs_are_linked_that_have_a_page(self, pair, tmp_path):
        runs, comparison = pair()
        report = runs[1].folder / "report.html"
        report.write_bytes(b"")
        page = write_comparison(comparison, runs, tmp_path / "out")["page"]
        links = [value for name, value in Page(page.read_bytes()).attributes if name == "href"]
        assert links[0] == "#main"
        assert [os.path.normpath(page.parent / link) for link in links[1:]] == [str(report)]


class TestAxis:
    def test_places_by_hand(self):
        axis = Axis(-0.02, 0.02)
        assert [axis.place(value) for value in (-0.02, 0.0, 0.01)] == [
            f"{LEFT:.1f}", f"{LEFT + WIDTH / 2:.1f}", f"{LEFT + WIDTH * 3 / 4:.1f}",
        ]  # fmt: skip

    def test_what_leaves_it_ends_at_its_edge(self):
        shown = Axis(-0.02, 0.02).interval(-0.5, -0.1, 0.01)
        assert (shown.low, shown.at) == (f"{LEFT:.1f}", None)
