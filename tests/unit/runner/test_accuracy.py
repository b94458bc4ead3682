"""The runner and the summary on a scripted backend; expected values are counted by hand."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from modeltest.errors import DataError, ModelError
from modeltest.records import AudioFacts
from modeltest.reports.summary import summarise
from modeltest.runlog.run_log import read_run
from modeltest.runner.batches import batch_plan
from modeltest.runner.logged_replies import LoggedReplies
from modeltest.runner.plan import check_data, long_clips
from modeltest.settings.load import Loaded

PADDED = "1 clips are too short for the model and were padded"


def figures(summary, subset, metric="acc"):
    found = summary.value(subset, metric)
    return found.correct, found.total, found.unparsed, found.errors


def test_a_long_clip_is_an_error_that_stays_in_the_total(run_script, scripted):
    summary = summarise(run_script(scripted()))
    # sniff is 2.5 s long, the backend hears 2 s.
    assert figures(summary, "all") == (4, 5, 0, 1)
    assert figures(summary, "class=sniff") == (0, 1, 0, 1)
    assert figures(summary, "gender=male") == (2, 3, 0, 1)
    assert summary.verdict.validity == "INVALID"
    assert summary.verdict.reasons == ("1 of 5 samples failed", PADDED)


def test_truncation_is_asked_for(run_script, scripted, settings, progress):
    data = check_data(Loaded("t", settings, ((Path("t.yaml"), ""),), (), {}), None, progress)
    assert long_clips(data, 2.0) == ["m0002_0_sniff"]
    assert long_clips(data, 2.5) == []


def test_long_clips_are_asked_first_and_records_keep_the_tasks_order(run_script, scripted):
    backend = scripted()
    run = run_script(backend, batch_size=3)
    ids = [record["sample_id"] for record in run.samples]
    assert ids == sorted(ids)
    assert [record["index"] for record in run.samples] == [0, 1, 2, 3, 4]
    # 2.5 s is too long to be asked; then 1.0, 0.7, 0.5 and 0.05 s.
    assert backend.batches == [
        ["f0001_0_cough", "m0002_0_cough"], ["f0001_0_sneeze", "m0002_0_laughter"],
    ]  # fmt: skip


def test_limit_takes_the_first_of_the_tasks_order_and_sorts_those(run_script, scripted):
    backend = scripted()
    run = run_script(backend, batch_size=1, limit=3)
    assert [record["sample_id"] for record in run.samples] == [
        "f0001_0_cough", "f0001_0_sneeze", "m0002_0_cough",
    ]  # fmt: skip
    assert backend.batches == [["f0001_0_cough"], ["m0002_0_cough"], ["f0001_0_sneeze"]]


@pytest.mark.parametrize("prefetch", [True, False])
def test_a_batch_of_which_a_reply_is_missing_is_run_whole(run_script, scripted, prefetch):
    backend = scripted()
    backend.max_audio_s = 30.0
    done = run_script(backend, batch_size=2, prefetch=prefetch)
    # Batches: sniff and cough (f), cough (m) and sneeze, laughter.
    have = logged(done, "m0002_0_sniff", "f0001_0_cough", "f0001_0_sneeze")
    again = scripted()
    again.max_audio_s = 30.0
    run = run_script(again, batch_size=2, prefetch=prefetch, folder="again", logged=have)
    assert again.batches == [["m0002_0_cough", "f0001_0_sneeze"], ["m0002_0_laughter"]]
    assert [record["sample_id"] for record in run.samples] == ["m0002_0_cough", "m0002_0_laughter"]
    assert [record["index"] for record in run.samples] == [2, 3]


def logged(run, *names) -> LoggedReplies:
    return LoggedReplies([record for record in run.samples if record["sample_id"] in names])


def test_a_reply_that_contradicts_the_log_is_logged_too_and_makes_the_run_invalid(
    run_script, scripted, tmp_path
):
    first = run_script(scripted(), batch_size=2, limit=3)
    have = logged(first, "m0002_0_cough")  # with f0001_0_cough in a batch
    changed = scripted(m0002_0_cough="E: Sneeze")
    again = run_script(changed, batch_size=2, limit=3, folder="again", logged=have)
    by_id = {record["sample_id"]: record["response"]["text"] for record in again.samples}
    assert by_id["m0002_0_cough"] == "E: Sneeze"
    for path in (first.folder / "log").iterdir():
        path.rename(again.folder / "log" / f"0-{path.name}")
    run = read_run(again.folder)
    assert run.problems == ("two different replies for m0002_0_cough",)
    assert summarise(run).verdict.validity == "INVALID"


@pytest.mark.parametrize("reply", ["C", RuntimeError("boom")], ids=["the same", "a failure"])
def test_the_same_reply_or_a_failure_contradicts_nothing(run_script, scripted, reply):
    first = run_script(scripted(), batch_size=2, limit=3)
    have = logged(first, "m0002_0_cough")
    backend = scripted(m0002_0_cough=reply)
    again = run_script(backend, batch_size=2, limit=3, folder="again", logged=have)
    assert "m0002_0_cough" in backend.batches[0]
    assert [r["sample_id"] for r in again.samples] == ["f0001_0_cough", "f0001_0_sneeze"]


def test_a_clock_that_was_set_back_before_resuming_changes_nothing(
    run_script, scripted, monkeypatch
):
    day_s, now_s, now_ns = 86_400, time.time, time.time_ns
    first = run_script(scripted(), batch_size=2)
    have = logged(first, "m0002_0_sniff", "f0001_0_cough")
    texts = [record["response"]["text"] for record in first.samples]
    verdict = summarise(first).verdict
    [segment] = (first.folder / "log").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    # The head, what was logged by then, and a torn line.
    kept = [line for line in lines if b'"m0002_0_sniff"' in line or b'"f0001_0_cough"' in line]
    segment.write_bytes(b"".join([lines[0], *kept]) + lines[-1][:30])
    monkeypatch.setattr(time, "time", lambda: now_s() - day_s)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - day_s * 10**9)
    run = run_script(scripted(), batch_size=2, logged=have)
    names = sorted(path.name for path in (run.folder / "log").iterdir())
    assert len(names) == 2
    assert names[1] == segment.name, "the later process has the earlier name"
    assert (run.problems, run.torn) == ((), (segment.name,))
    assert [record["index"] for record in run.samples] == [0, 1, 2, 3, 4]
    assert [record["response"]["text"] for record in run.samples] == texts
    assert all(0 <= phase["seconds"] < 60 for phase in run.phases)
    assert summarise(run).verdict == verdict


def test_metadata_is_part_of_the_data(settings, progress):
    def sha256(**changes):
        changed = settings.model_copy(update=changes)
        task = Loaded("t", changed, ((Path("t.yaml"), ""),), (), {})
        return check_data(task, None, progress).sha256

    label = settings.label
    others = label.model_copy(update={"rename": {"gender": {"f": "woman", "m": "man"}}})
    assert sha256() == sha256()
    assert sha256() != sha256(label=others)


def test_clips_of_one_length_stay_in_the_tasks_order():
    def clip(seconds):
        return (AudioFacts("", 1, seconds, 16_000, 1, "WAV/PCM_16"),)

    facts = [clip(s) for s in (1.0, 3.0, 1.0, 2.0, 3.0)]
    assert list(batch_plan(facts, 2)) == [[1, 4], [3, 0], [2]]
    assert list(batch_plan(facts[:1], 8)) == [[0]]


def test_one_failure_does_not_take_its_batch_along(run_script, scripted):
    backend = scripted(f0001_0_sneeze=RuntimeError("boom"))
    run = run_script(backend, batch_size=5)
    errors = {r["sample_id"]: r["response"]["error"] for r in run.samples}
    assert errors["f0001_0_sneeze"] == "RuntimeError: boom"
    assert [name for name, error in errors.items() if error] == ["f0001_0_sneeze", "m0002_0_sniff"]
    assert figures(summarise(run), "all") == (3, 5, 0, 2)


def test_what_concerns_the_run_ends_it(run_script, scripted, model_error):
    with pytest.raises(ModelError, match="dropped"):
        run_script(scripted(f0001_0_cough=model_error))


def test_unparsed_is_not_correct_and_has_its_own_column(run_script, scripted):
    backend = scripted(f0001_0_cough="I hear a sound", m0002_0_cough="A person is coughing")
    backend.max_audio_s = 30.0
    summary = summarise(run_script(backend))
    assert figures(summary, "all") == (4, 5, 1, 0)
    # The original rule reads the article of "A person" as answer A, and nothing from the other.
    assert figures(summary, "all", "acc_legacy")[:2] == (3, 5)
    assert summary.value("all", "unparsed_rate").value == pytest.approx(0.2)
    assert summary.verdict.validity == "VALID"
    assert summary.verdict.reasons == ("1 of 5 replies unparsed", PADDED)
    row = dict(zip(summary.confusion.columns, summary.confusion.counts[1], strict=True))
    assert row == {"laughter": 0, "cough": 1, "sneeze": 0, "sniff": 0, "unparsed": 1, "error": 0}


def test_a_clip_under_a_tenth_of_a_second_is_padded_and_asked(run_script, scripted):
    backend = scripted()
    run = run_script(backend)
    [record] = [r for r in run.samples if r["sample_id"] == "m0002_0_laughter"]
    assert record["score"]["correct"]
    assert record["clips"][0]["note"] == "padded to 0.1 s"
    assert record["clips"][0]["duration_s"] == pytest.approx(0.05)
    assert len(backend.requests["m0002_0_laughter"].audio[0].waveform) == 1600


def test_limit_makes_the_run_limited(run_script, scripted):
    summary = summarise(run_script(scripted(), limit=2))
    assert summary.verdict.validity == "LIMITED"
    assert summary.verdict.reasons == ("2 of 5 samples",)


def test_a_run_that_stopped_early_is_incomplete(run_script, scripted):
    backend = scripted()
    backend.max_audio_s = 30.0
    summary = summarise(run_script(backend, num_samples=6, num_available=6))
    assert summary.verdict.validity == "INCOMPLETE"
    assert summary.verdict.reasons == ("5 of 6 samples evaluated", PADDED)


def test_all_problems_of_the_data_are_listed_together(settings, progress):
    folder = settings.local_dataset_path
    (folder / "f0009_0_cough.wav").write_bytes(b"no audio")
    (folder / "f0009_0_sniff.wav").write_bytes(b"")
    soundfile.write(folder / "f0009_0_yawn.wav", np.zeros(99), 16_000)
    with pytest.raises(DataError) as caught:
        check_data(Loaded("t", settings, ((Path("t.yaml"), ""),), (), {}), None, progress)
    message = str(caught.value)
    for name in ("f0009_0_cough.wav", "f0009_0_sniff.wav", "f0009_0_yawn.wav"):
        assert name in message


def test_copies_of_a_clip_are_a_warning(settings, progress):
    folder = settings.local_dataset_path
    (folder / "f0008_0_cough.flac").write_bytes((folder / "f0001_0_cough.flac").read_bytes())
    data = check_data(Loaded("t", settings, ((Path("t.yaml"), ""),), (), {}), None, progress)
    assert any("f0001_0_cough, f0008_0_cough" in warning for warning in data.warnings)
