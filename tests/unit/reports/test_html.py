"""`report.html`: what it says, and that hostile text in it stays text."""

import base64
import hashlib
import os
import re

import pytest
from page_reader import INVISIBLE, Page

from modeltest.reports.html import report_html, with_clips
from modeltest.reports.page.clips import EmbeddedClip, clip_folders
from modeltest.reports.page.sample_columns import MAX_SAMPLES, sample_columns, status_of
from modeltest.reports.summary import summarise

# Characters of a reply that could steer a reader's eyes or end the element they stand in.
HOSTILE = "</script><script>alert(1)</script><!--\u202e\u2066\u2028\0\ud800\x1b[2J&lt;"


def page_of(run, *arguments, **named):
    return Page(report_html(run, summarise(run), *arguments, **named))


def test_the_verdict_stands_first_in_title_and_body(run):
    content = report_html(run, summarise(run)).decode()
    assert re.search(r"<title>INVALID\b", content)
    body = content.partition("<body>")[2]
    assert body.index("<strong>INVALID</strong>") < body.index("1 of 6 samples failed")
    assert body.index("1 of 6 replies unparsed") < body.index("<h1>")


def test_figures_are_per_cent_with_intervals(run):
    # Wilson's interval of 3 of 6, as Newcombe (1998) has it.
    text = " ".join(page_of(run).text.split())
    assert "50.00 %" in text
    assert "18.76 – 81.24" in text


def test_every_sample_is_there_and_nothing_is_fetched(run):
    page = page_of(run)
    samples = page.samples
    assert samples["id"] == [record["sample_id"] for record in run.samples]
    assert "".join(samples["status"]) == "ccwuec"
    assert samples["text"][5] == "打喷嚏"
    assert samples["text"][3] == "A person\\nor A: two"
    assert [samples["labels"][truth] for truth in samples["truth"]] == [
        record["truth"] for record in run.samples
    ]
    assert samples["answer"] == [1, 0, 2, None, None, 2]
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "style", "onclick", "onerror"}
    assert {value for name, value in page.attributes if name == "href"} == {"#main"}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page.scripts["script"])


def test_the_confusion_matrix_is_a_table_of_buttons(run):
    content = report_html(run, summarise(run)).decode()
    cells = re.findall(
        r'<button type="button" class="cell" data-truth="(\d)" data-answer="(\d)">(\d+)<', content
    )
    # Rows laughter, cough, sneeze; columns the same, then unparsed and error.
    expected = [[1, 0, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 1, 0, 1]]
    assert cells == [
        (str(row), str(column), str(count))
        for row, counts in enumerate(expected)
        for column, count in enumerate(counts)
    ]


def test_hostile_text_ends_no_element_and_steers_nothing(make_run):
    def put(manifest, samples):
        for record in samples[2:5]:
            record["response"]["text"] = HOSTILE
            record["sample_id"] += HOSTILE
            record["clips"][0]["name"] = HOSTILE
            record["clips"][0]["envelope"] = HOSTILE
            record["subsets"].append(f"gender={HOSTILE}")
        samples[4]["response"]["error"] = HOSTILE
        for name in ("task", "model"):
            manifest[name]["name"] = HOSTILE
        manifest["prompt"]["rendered"] = manifest["device"]["name"] = HOSTILE
        manifest["data"]["warnings"].append(HOSTILE)
        manifest["data"].update(folder=HOSTILE, folder_from_report=HOSTILE, layout="folder")

    run, plain = make_run(put), make_run()
    content = report_html(run, summarise(run))
    page = Page(content)
    assert not set(content.decode("utf-8")) & INVISIBLE
    assert page.tags.count("script") == Page(report_html(plain, summarise(plain))).tags.count(
        "script"
    )
    assert page.samples["text"][2].startswith("</script><script>alert(1)</script>")
    assert page.samples["text"][2].endswith("\\u202e\\u2066\\u2028\\x00\\ud800\\x1b[2J&lt;")
    assert page.samples["clips"][2][0][3] == ""  # no shape
    assert "</script>" in page.text


def test_the_policy_names_the_pages_own_style_and_script_only(run):
    page = page_of(run)
    policy = next(value for name, value in page.attributes if name == "content" and "src" in value)
    for name in ("style", "script"):
        digest = hashlib.sha256(page.scripts[name].encode()).digest()
        assert f"{name}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_long_replies_are_cut_and_counted(make_run):
    def lengthen(_manifest, samples):
        samples[2]["response"]["text"] = "x" * 100_000

    samples = page_of(make_run(lengthen)).samples
    assert (len(samples["text"][2]), samples["left_out"]) == (10_000, [0, 0, 90_000, 0, 0, 0])


def many(number):
    def make(manifest, samples):
        wrong, right = samples[2], samples[1]
        samples[:] = [
            {**(wrong if place == number - 1 else right), "index": place, "sample_id": f"s{place}"}
            for place in range(number)
        ]
        manifest["data"].update(num_samples=number, num_available=number)

    return make


def test_3600_samples_of_the_usual_length_stay_below_3_mb(make_run):
    def make(manifest, samples):
        many(3600)(manifest, samples)
        for record in samples:
            clip = {**record["clips"][0], "envelope": "Zz09" * 12}
            response = {**record["response"], "option_logits": [-11.8125] * 6}
            record.update(clips=[clip], response=response)

    run = make_run(make)
    content = report_html(run, summarise(run))
    assert len(Page(content).samples["id"]) == 3600
    assert len(content) < 3_000_000


def test_of_very_many_samples_those_that_are_wrong_come_first(make_run):
    run = make_run(many(MAX_SAMPLES + 5))
    found = sample_columns(run)
    assert found.num_shown == MAX_SAMPLES
    assert found.content["id"][-1] == f"s{MAX_SAMPLES + 4}"
    assert found.content["id"][-2] == f"s{MAX_SAMPLES - 2}"


@pytest.mark.parametrize(
    ("error", "answer", "truth", "correct", "status"),
    [("", "a", "a", True, "c"), ("", "b", "a", False, "w"), ("", None, "a", False, "u"),
     ("boom", None, "a", False, "e"), ("", "x", "", None, "a")],
)  # fmt: skip
def test_outcomes(error, answer, truth, correct, status):
    score = {"answer": answer, "correct": correct}
    record = {"response": {"error": error}, "score": score, "truth": truth}
    assert status_of(record) == status


def test_the_language_is_english_until_the_browser_says_otherwise(run):
    free = report_html(run, summarise(run)).decode()
    assert '<html lang="en">' in free
    assert '<span data-t="confusion">Confusion matrix</span>' in free
    fixed = report_html(run, summarise(run), "zh").decode()
    assert '<html lang="zh-Hans" data-fixed>' in fixed
    assert '<span data-t="confusion">混淆矩阵</span>' in fixed


class TestClips:
    def manifest(self, **data):
        facts = {"folder": "/data/a b#1", "folder_from_report": "../../data/a b#1"}
        return {"data": {**facts, "layout": "folder", **data}, "working_directory": "/home/u"}

    def test_addresses_are_percent_encoded(self):
        assert clip_folders(self.manifest()) == ["../../data/a%20b%231", "file:///data/a%20b%231"]

    def test_a_relative_folder_is_one_of_the_working_directory(self):
        found = clip_folders(self.manifest(folder="clips"))
        assert found[1] == "file:///home/u/clips"

    def test_no_address_can_name_another_scheme(self):
        found = clip_folders(self.manifest(folder_from_report="javascript:alert(1)"))
        assert found[0] == "javascript%3Aalert%281%29"

    @pytest.mark.parametrize(
        "data",
        [{"layout": "saved data set"}, {"layout": "saved data set (test)"},
         {"folder_from_report": None}, {"folder": None}],
    )  # fmt: skip
    def test_without_files_there_are_no_links(self, data):
        assert clip_folders(self.manifest(**data)) == []

    def test_embedded_clips_stand_in_the_page_and_are_named_by_digest(self, make_run):
        def give_digests(_manifest, samples):
            for number, record in enumerate(samples):
                record["clips"][0]["sha256"] = f"{number:064x}"

        run = make_run(give_digests)
        sound = os.urandom(1000)
        clip = EmbeddedClip(f"{3:064x}", "FLAC/PCM_16", sound)
        linked = report_html(run, summarise(run), clips_are_embedded=True)
        page = Page(b"".join(with_clips(linked, [clip])))
        assert base64.b64decode(page.scripts[f"clip-{3:064x}"]) == sound
        assert ("data-kind", "flac") in page.attributes
        assert page.samples["clips"][3][0][5] == f"{3:064x}"
        assert page.samples["folders"] == []
