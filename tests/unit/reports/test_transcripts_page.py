"""`compare.html` of transcription runs: replies that are apart, the farthest first."""

import re

import pytest
from page_reader import INVISIBLE, Page

from modeltest.reports.comparison.transcripts import compare_transcripts
from modeltest.reports.comparison.transcripts_files import write_transcript_comparison
from modeltest.reports.summary import summarise

HOSTILE = "</script><script>alert(1)</script>\u202e\0"
FIRST = ("oh no", "yes", "abcd", "well then")


@pytest.fixture
def page_of(make_run, tmp_path):
    """The page of the run with `FIRST` and of the same one with other replies; None failed."""

    def run_of(replies):
        def rewrite(manifest, samples):
            manifest["task"]["settings"] = {
                "kind": "transcription", "version": "1.0", "prompt": "?", "prompt_format": "chat",
                "metrics": ["wer", "exact_match", "answered_rate"], "slices": {"by": ["language"]},
            }  # fmt: skip
            manifest["labels"] = []
            manifest["data"].update(num_samples=4, num_available=4, sha256="d")
            del samples[4:]
            for place, (sample, text) in enumerate(zip(samples, replies, strict=True)):
                sample.update(sample_id=f"s{place}", truth=FIRST[place], subsets=["language=en"])
                sample["response"].update(text=text or "", error="" if text else "boom")
                sample["score"].update(
                    answer=text, correct=text == FIRST[place], num_word_edits=0,
                    num_reference_words=2,
                )  # fmt: skip

        return make_run(rewrite)

    def make(second, language=None):
        runs = run_of(FIRST), run_of(second)
        comparison = compare_transcripts(*((run, summarise(run)) for run in runs))
        paths = write_transcript_comparison(comparison, runs, tmp_path / "out", language)
        return paths["page"].read_bytes()

    return make


def test_the_farthest_come_first(page_of):
    # One letter of four is another: distance 1 over 4 + 4 letters. A failure counts as 1.
    samples = Page(page_of(("oh no", None, "abcx", "well then"))).samples
    assert samples["id"] == ["s1", "s2"]
    assert samples["gap"] == [1, 0.125]
    first, second = samples["sides"]
    assert first["text"] == ["yes", "abcd"]
    assert (second["text"], second["error"]) == (["", "abcx"], ["boom", ""])
    assert samples["truth"] == ["yes", "abcd"]


def test_the_score_is_that_of_the_console(page_of):
    content = page_of(("oh no", None, "abcx", "well then")).decode()
    assert "<strong>accuracy_gap 0.28125</strong>" in content  # (1 + 1 / 8) / 4
    assert re.search(r'<div class="reason">B is INVALID: 1 of 4 samples failed', content)


def test_the_same_words_need_no_table(page_of):
    content = page_of(FIRST).decode()
    assert '<p><span data-t="compare.apart.none">All replies have the same words.' in content
    assert 'id="rows"' not in content


def test_hostile_replies_are_text_and_the_language_is_fixed(page_of):
    content = page_of((HOSTILE, "yes", "abcd", "well then"), "zh")
    page = Page(content)
    assert page.tags.count("script") == 3
    assert page.samples["sides"][1]["text"] == ["</script><script>alert(1)</script>\\u202e\\x00"]
    assert not set(content.decode()) & INVISIBLE
    assert '<html lang="zh-Hans" data-fixed>' in content.decode()
