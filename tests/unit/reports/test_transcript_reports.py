"""Reports and comparison of runs in which any text may be right."""

import csv
import io

import pytest

from modeltest.errors import UsageError
from modeltest.reports.comparison.transcripts import compare_transcripts, transcripts_text
from modeltest.reports.comparison.transcripts_files import agreement_csv
from modeltest.reports.console import result_table
from modeltest.reports.csv_files import index_row, pairs_csv, result_csv, samples_csv
from modeltest.reports.files import write_reports
from modeltest.reports.html import report_html
from modeltest.reports.summary import summarise

# Reference, reply, its words, edits: of the references' 8 words, 1 + 0 + 3 + 2 are edited.
SAMPLES = (
    ("oh no / he did", "Oh no. She did!", "oh no she did", 1),
    ("yes", "Yes.", "yes", 0),
    ("x", "Well, x it is", "well x it is", 3),
    ("a b", "", None, 2),
)


@pytest.fixture(autouse=True)
def no_colours(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def transcripts(make_run):
    """A run of pairs; `replies` replaces texts and words, `change` alters the manifest."""

    def make(replies=None, with_references=True, failed=(), change=lambda _: None):
        def rewrite(manifest, samples):
            task = manifest["task"]
            task["settings"] = {
                "kind": "transcription", "version": "1.0", "prompt": "?", "prompt_format": "chat",
                "metrics": ["wer", "exact_match", "answered_rate"], "slices": {"by": []},
            }  # fmt: skip
            manifest["labels"] = []
            manifest["data"].update(num_samples=4, num_available=4, sha256="d")
            samples[:] = [
                record(sample, number, with_references, number in failed, replies)
                for number, sample in enumerate(samples[:4])
            ]
            change(manifest)

        return make_run(rewrite)

    return make


def record(sample, number, with_references, has_failed, replies):
    truth, text, words, edits = SAMPLES[number]
    text, words = (replies or {}).get(number, (text, words))
    text, words = ("", None) if has_failed else (text, words)
    scored = with_references and not has_failed
    sample["response"].update(text=text, error="boom" if has_failed else "")
    return {
        **sample,
        "sample_id": f"pair-{number}",
        "truth": truth if with_references else "",
        "subsets": [],
        "clips": [
            {"name": f"{side}{number}.wav", "duration_s": 1.0, "heard_s": 1.0, "note": ""}
            for side in "ab"
        ],
        "score": {
            "answer": words, "correct": scored and edits == 0, "legacy_answer": None,
            "legacy_correct": False,
            "num_word_edits": edits if with_references else None,
            "num_reference_words": len(truth.replace("/", "").split()) if with_references else None,
        },
    }  # fmt: skip


def table(content):
    return list(csv.DictReader(io.StringIO(b"".join(content).decode("utf-8"), newline="")))


def summed(run):
    return run, summarise(run)


def test_the_figures_by_hand(transcripts):
    summary = summarise(transcripts())
    figures = {
        a.metric: (a.value, a.total, a.unparsed) for a in summary.aggregates if a.subset == "all"
    }
    assert figures["wer"] == (6 / 8, 4, 1)
    assert figures["exact_match"] == (1 / 4, 4, 1)
    assert figures["answered_rate"] == (3 / 4, 4, 1)
    assert figures["unparsed_rate"] == (1 / 4, 4, 1)
    assert "acc" not in figures
    assert summary.confusion is None
    assert summary.verdict.reasons == ("1 of 4 replies unparsed",)


def test_without_references_the_answered_rate_stands_for_the_run(transcripts):
    run, summary = summed(transcripts(with_references=False))
    rows = {row["metric"]: row for row in table([result_csv(run, summary)])}
    assert (rows["wer"]["value"], rows["exact_match"]["value"]) == ("", "")
    row = index_row(run, summary, "somewhere")
    assert (row["metric"], row["value"]) == ("answered_rate", 0.75)
    assert {row["correct"] for row in table(samples_csv(run, summary))} == {""}


def test_the_word_error_rate_stands_for_the_run(transcripts):
    row = index_row(*summed(transcripts()), "somewhere")
    assert (row["command"], row["metric"], row["value"]) == ("eval", "wer", 0.75)


def test_rows_of_the_samples_and_pairs_tables(transcripts):
    run, summary = summed(transcripts())
    first, second, *_ = table(samples_csv(run, summary))
    assert first["audio"] == "a0.wav|b0.wav"
    assert (first["truth"], first["answer"]) == ("oh no / he did", "oh no she did")
    assert (first["output"], first["correct"], second["correct"]) == (
        "Oh no. She did!", "false", "true",
    )  # fmt: skip
    assert table(pairs_csv(run, summary))[0] == {
        "first_audio": "a0.wav", "second_audio": "b0.wav", "answer": "Oh no. She did!",
        "validity": "VALID",
    }  # fmt: skip


def test_the_files_have_pairs_and_no_confusion(transcripts):
    run, summary = summed(transcripts())
    paths = write_reports(run, summary)
    assert list(paths) == ["results", "samples", "pairs", "replies", "report"]
    before = {name: path.read_bytes() for name, path in paths.items()}
    write_reports(run, summarise(run))
    assert {name: path.read_bytes() for name, path in paths.items()} == before
    assert not list(paths["results"].parent.glob("*confusion*"))


@pytest.mark.parametrize("with_references", [True, False])
def test_the_page_says_what_was_measured(transcripts, with_references):
    page = report_html(*summed(transcripts(with_references=with_references))).decode("utf-8")
    assert (">75.00" in page, "<th>wer</th>" in page) == (True, with_references)
    assert "confusion-title" not in page
    assert "<th>acc_legacy</th>" not in page


def test_the_console_table(transcripts):
    shown = result_table(summarise(transcripts())).splitlines()
    [header] = [line for line in shown if line.startswith("subset")]
    [whole] = [line for line in shown if line.startswith("all ")]
    assert header.split()[:4] == ["subset", "total", "wer", "%"]
    assert whole.split()[:3] == ["all", "4", "75.00"]
    bare = result_table(summarise(transcripts(with_references=False))).splitlines()
    [whole] = [line for line in bare if line.startswith("all ")]
    assert whole.split() == ["all", "4", "-", "-", "-", "75.00", "1", "0"]


def test_a_run_of_one_sample_has_a_page(transcripts):
    run = transcripts()
    run.manifest["data"].update(num_samples=1, num_available=1)
    one = type(run)(run.folder, run.manifest, run.samples[:1], run.phases)
    assert "<th>wer</th>" in report_html(*summed(one)).decode("utf-8")


class TestCompare:
    def test_equal_runs_agree_wholly(self, transcripts):
        comparison = compare_transcripts(summed(transcripts()), summed(transcripts()))
        assert (comparison.gap, comparison.num_pairs, comparison.num_equal) == (0.0, 4, 4)
        assert (comparison.widest, comparison.differing) == ((), ())

    def test_the_mean_by_hand(self, transcripts):
        # "yes" and "yeah": 2 edits of 7 letters; nothing and "a b": 3 of 3.
        other = transcripts({1: ("Yeah!", "yeah"), 3: ("a b", "a b")})
        comparison = compare_transcripts(summed(transcripts()), summed(other))
        assert comparison.gap == pytest.approx((2 / 7 + 1) / 4)
        assert comparison.widest == (("pair-3", 1.0), ("pair-1", 2 / 7))
        text = transcripts_text(comparison)
        assert text.startswith("accuracy_gap 0.321429 over 4 pairs (agreement of the replies")
        assert "wer" in text

    def test_it_keeps_to_80_columns(self, transcripts):
        def change(manifest):
            manifest["model"]["name"] = "a model with a long name, " * 5
            manifest["data"]["warnings"] = ["odd clips, " * 12]

        other = transcripts({1: ("Yeah!", "yeah")}, failed=(3,), change=change)
        runs = summed(transcripts()), summed(other)
        comparison = compare_transcripts(*runs)
        whole, lines = transcripts_text(comparison), transcripts_text(comparison, 80).splitlines()
        assert max(map(len, lines)) <= 80, lines
        assert lines[0].startswith("accuracy_gap ")
        assert lines[1].startswith("  ")
        assert whole.splitlines()[0].endswith(
            "(agreement of the replies, not WER; 0: the same words)"
        )
        assert lines[-6].split() == ["metric", "A", "%", "B", "%"]
        assert lines[-6:] == whole.splitlines()[-6:]

    def test_a_row_per_figure_for_scripts(self, transcripts):
        other = summed(transcripts({1: ("Yeah!", "yeah"), 3: ("a b", "a b")}))
        comparison = compare_transcripts(summed(transcripts()), other)
        rows = {row["figure"]: row for row in table([agreement_csv(comparison, ("one", "two"))])}
        assert list(rows) == [
            "accuracy_gap", "same_words", "one_failed", "wer_a", "wer_b", "exact_match_a",
            "exact_match_b", "answered_rate_a", "answered_rate_b", "error_rate_a", "error_rate_b",
        ]  # fmt: skip
        gap = rows["accuracy_gap"]
        assert float(gap["value"]) == pytest.approx((2 / 7 + 1) / 4)
        assert (gap["run_a"], gap["run_b"], gap["total"], gap["ci_low"]) == ("one", "two", "4", "")
        assert (rows["same_words"]["value"], rows["one_failed"]["value"]) == ("2", "0")
        wer, answered = rows["wer_a"], rows["answered_rate_a"]
        assert (float(wer["value"]), float(answered["value"])) == (6 / 8, 3 / 4)
        assert 0 <= float(answered["ci_low"]) < 3 / 4 < float(answered["ci_high"]) <= 1
        assert {(row["validity_a"], row["validity_b"]) for row in rows.values()} == {
            ("VALID", "VALID")
        }

    def test_it_is_the_same_the_other_way_round(self, transcripts):
        runs = summed(transcripts()), summed(transcripts({0: ("no", "no")}))
        assert compare_transcripts(*runs).gap == compare_transcripts(*runs[::-1]).gap > 0

    def test_a_failed_sample_agrees_with_nothing(self, transcripts):
        failing = summed(transcripts(failed=(3,)))
        comparison = compare_transcripts(summed(transcripts()), failing)
        assert (comparison.gap, comparison.num_failed) == (0.25, 1)
        assert compare_transcripts(failing, failing).gap == 0.25
        assert "B is INVALID: 1 of 4 samples failed" in transcripts_text(comparison)

    def test_samples_that_only_one_run_has_are_said(self, transcripts):
        run = transcripts()
        part = type(run)(run.folder, run.manifest, run.samples[:3], run.phases)
        text = transcripts_text(compare_transcripts(summed(run), summed(part)))
        assert text.startswith("accuracy_gap 0 over 3 of 4 pairs")
        assert "B is INCOMPLETE" in text

    def test_runs_without_a_common_sample(self, transcripts):
        run = transcripts()
        none = type(run)(run.folder, run.manifest, (), run.phases)
        with pytest.raises(UsageError, match="no evaluated sample in common"):
            compare_transcripts(summed(run), summed(none))

    def test_a_changed_citation_changes_no_measurement(self, transcripts):
        cited = [{"value": 0.9, "model": "m", "source": "a paper", "note": ""}]
        other = transcripts(change=lambda m: m["task"]["settings"].update(published=cited))
        comparison = compare_transcripts(summed(transcripts()), summed(other))
        assert (comparison.gap, comparison.differing) == (0.0, ())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m: m["data"].update(sha256="e"), "data: A has d, B has e"),
            (lambda m: m["task"].update(name="u"), "task: A has t, B has u"),
            (lambda m: m["task"]["settings"].update(prompt="!"), r"settings.prompt: A has \?, B"),
        ],
    )
    def test_another_task_or_other_data_are_refused(self, transcripts, change, message):
        with pytest.raises(UsageError, match=message):
            compare_transcripts(summed(transcripts()), summed(transcripts(change=change)))

    def test_what_may_differ_is_said(self, transcripts):
        def change(manifest):
            manifest["task"]["settings"]["prompt_format"] = "raw"
            manifest["model"]["name"] = "n"
            manifest["place"]["backend"] = "openai"

        runs = summed(transcripts()), summed(transcripts(change=change))
        text = transcripts_text(compare_transcripts(*runs))
        assert "different: model: A m, B n" in text
        assert "different: backend: A transformers, B openai" in text
