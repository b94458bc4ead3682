"""Notes among the verdict's reasons, and rows that only some backends allow."""

import io

import pandas
import pytest

from modeltest.reports.console import result_table
from modeltest.reports.csv_files import result_csv
from modeltest.reports.html import report_html
from modeltest.reports.summary import summarise


def with_logits(manifest, samples):
    for sample in samples[:4]:
        sample["response"]["option_logits"] = [1.5, -2.0, 3.25]
        sample["score"].update(option_answer="sneeze", option_correct=sample["truth"] == "sneeze")
    samples[5]["response"]["option_logits"] = [0.5, 1.0, 2.0]
    samples[5]["score"].update(option_answer="sneeze", option_correct=True)


def test_option_logits_have_rows_for_every_subset_in_csv_and_page_only(make_run):
    run, plain = make_run(with_logits), make_run()
    summary = summarise(run)
    rows = pandas.read_csv(io.BytesIO(result_csv(run, summary)))
    found = rows[rows["metric"] == "acc_option_logits"].set_index("subset")
    assert list(found.index) == list(rows[rows["metric"] == "acc"]["subset"])
    assert (found["correct"]["all"], found["total"]["all"]) == (1, 6)
    assert (found["correct"]["class=sneeze"], found["total"]["class=sneeze"]) == (1, 2)
    assert "<th>acc_option_logits</th>" in report_html(run, summary).decode()
    assert result_table(summary) == result_table(summarise(plain))


def test_without_option_logits_there_are_no_rows(make_run):
    run = make_run()
    summary = summarise(run)
    assert summary.value("all", "acc_option_logits") is None
    assert "<th>acc_option_logits</th>" not in report_html(run, summary).decode()


NOTES = {
    "declares no length: a cut between two MP3 frames would not show": "1 clips declare no length",
    "12 bytes after its end are ignored": "1 clips have bytes behind their end",
    "named .wav, is FLAC": "1 clips are named as another format",
    "peak 1.31": "1 clips go beyond full scale",
    "padded to 0.1 s": "1 clips are too short",
    "truncated from 31 s to 30 s": "1 samples were cut",
}


def reasons(make_run, change):
    return summarise(make_run(change)).verdict.reasons


@pytest.mark.parametrize("note", NOTES)
def test_each_kind_of_note_of_the_clips_is_a_note_of_the_run(make_run, note):
    def change(_manifest, samples):
        samples[0]["clips"][0]["note"] = note

    assert [r for r in reasons(make_run, change) if r.startswith(NOTES[note])]


def test_clips_are_counted_by_kind(make_run):
    def change(_manifest, samples):
        for sample in samples[:3]:
            sample["clips"][0]["note"] = "; ".join(NOTES)

    found = [r for r in reasons(make_run, change) if r.startswith("3 ")]
    assert len(found) == len(NOTES)


def test_the_front_doors_own_words_are_known():
    from modeltest.audio import decode, mpeg
    from modeltest.audio.containers import ending_note
    from modeltest.audio.contents import Contents, after_the_end
    from modeltest.reports.clip_notes import ClipNotes

    notes = ClipNotes()
    for note in (
        mpeg.UNPROVEN_END,
        *after_the_end(3),
        *ending_note("a.wav", Contents("FLAC", 1)),
        f"padded to {decode.MIN_CLIP_S} s",
    ):
        before = len(notes.lines())
        notes.add([{"note": note}])
        assert len(notes.lines()) == before + 1, note


def test_another_engine_is_a_note(make_run):
    found = reasons(make_run, lambda m, _: m["model"].update(overrides=["model.engine=stock"]))
    assert "settings changed: engine=stock" in found


def test_replies_that_end_at_the_answer_are_a_note_of_their_own(make_run):
    def change(manifest, _samples):
        manifest["task"]["overrides"] = ["task.stop_at_answer=true"]
        manifest["task"]["settings"]["stop_at_answer"] = True

    found = reasons(make_run, change)
    assert "replies end at the answer (--stop-at-answer)" in found
    assert not [reason for reason in found if reason.startswith("changed by")]
