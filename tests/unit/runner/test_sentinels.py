"""Which samples are asked once more, what is asked, and what is logged of it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from modeltest.audio.workers import DecodeWorkers
from modeltest.devices.cpu import CpuDevice
from modeltest.errors import AudioError
from modeltest.records import Audio, AudioFacts, Sample
from modeltest.runlog.probes import missing_probes, planned_probes
from modeltest.runlog.run_log import open_segment
from modeltest.runlog.segment import read_segment
from modeltest.runner import batches as batches_module
from modeltest.runner.batches import Work, batch_plan, probe_batches, silenced
from modeltest.runner.plan import check_data
from modeltest.runner.sentinels import ask_probes, choose_probes
from modeltest.settings.load import Loaded
from modeltest.tasks.factory import make_task

# By `head -c 3200 /dev/zero | sha256sum`.
SHA_256_OF_3200_ZEROS = "5a312281df4bd8dfbb4d4a94ad0bf44d01bb8cfced1206b90e21b4ca0568cdb1"
LABELS = ("laughter", "sigh", "cough", "throatclearing", "sneeze", "sniff")


def data(num, num_labels=6):
    """Clips of ever shorter length: the order of the batches is the samples' own."""
    samples = [Sample(f"s{i}", (), LABELS[i % num_labels]) for i in range(num)]
    facts = [(AudioFacts(f"{i}", 10, 1000.0 - i, 16_000, 1, "WAV"),) for i in range(num)]
    return samples, facts


def chosen(num, batch_size, num_labels=6, text_only=False):
    return choose_probes(*data(num, num_labels), batch_size, text_only=text_only)


@pytest.mark.parametrize("batch_size", [1, 8, 10, 32, 120])
@pytest.mark.parametrize("text_only", [False, True])
def test_probes_are_spread_over_classes_batches_and_places(batch_size, text_only):
    alone = chosen(120, batch_size, text_only=text_only)["alone"]
    num = 24 if text_only else 12
    assert len(set(alone)) == num
    # Of six classes as many of each.
    assert set(Counter(index % 6 for index in alone).values()) == {num // 6}
    batches = Counter(index // batch_size for index in alone)
    # Where a part is longer than a batch, two of them may share one.
    assert len(batches) >= min(num, -(-120 // batch_size)) - 2
    if batch_size == 10:  # a probe's part of the run is just a batch: not always its first
        assert len({index % 10 for index in alone}) > 3


def test_silence_is_tried_on_every_class():
    silenced_ones = chosen(3600, 16)["silenced"]
    assert len(set(silenced_ones)) == 8
    assert sorted(Counter(index % 6 for index in silenced_ones).values()) == [1, 1, 1, 1, 2, 2]
    of_two = Counter(index % 2 for index in chosen(3600, 16, num_labels=2)["silenced"])
    assert of_two == {0: 4, 1: 4}


def test_the_same_plan_chooses_the_same():
    assert chosen(777, 7) == chosen(777, 7)


@pytest.mark.parametrize("num", [1, 2, 5, 11, 13])
def test_a_small_run_is_asked_once_more_as_far_as_it_goes(num):
    found = chosen(num, 4)
    assert sorted(found["alone"]) == sorted(set(found["alone"]))
    assert len(found["alone"]) == min(num, 12)
    assert set(found["silenced"]) <= set(found["alone"])
    assert len(found["silenced"]) == min(num, 8)


def test_the_longest_clips_come_first_as_in_the_run():
    samples, facts = data(24)
    facts.reverse()
    assert next(batch_plan(facts, 2)) == [23, 22]
    alone = choose_probes(samples, facts, 2, text_only=False)["alone"]
    assert alone == sorted(alone, reverse=True)


def test_silence_is_as_long_as_the_clip_and_has_a_digest_of_its_own():
    clip = Audio(np.ones(800, np.float32), 16_000, "a" * 64, 0.05, note="padded")
    [quiet] = silenced((clip,))
    assert not quiet.waveform.any()
    assert (quiet.waveform.shape, quiet.waveform.dtype) == ((800,), np.float32)
    assert (quiet.sampling_rate_hz, quiet.note) == (16_000, "padded")
    assert quiet.sha256 == SHA_256_OF_3200_ZEROS
    with pytest.raises(AudioError, match="silence itself"):
        silenced((quiet,))


@pytest.fixture
def work(settings, progress):
    """Five samples, all of which the log has."""
    found = check_data(Loaded("t", settings, ((Path("t.yaml"), ""),), (), {}), None, progress)
    task = make_task("t", settings)

    def make(*probes, batch_size=2):
        return Work(task, found.samples, found.facts, batch_size, False, "identity", probes=probes)

    return make


def asked_of(work, backend, tmp_path, progress):
    path = tmp_path / f"probed-{len(list(tmp_path.iterdir()))}"
    path.mkdir()
    (path / "manifest.json").touch()
    with open_segment(path) as segment, DecodeWorkers() as workers:
        ask_probes(work, backend, CpuDevice(), segment, progress, workers=workers)
    [written] = (path / "log").iterdir()
    return read_segment(written).records[1:]  # behind the head


def test_the_silenced_are_asked_together_and_the_others_alone(work, scripted, tmp_path, progress):
    backend = scripted()
    probes = [("silenced", 0), ("silenced", 1), ("silenced", 2), ("alone", 0), ("alone", 3)]
    *records, phase = asked_of(work(*probes), backend, tmp_path, progress)
    assert backend.batches == [
        ["f0001_0_cough", "f0001_0_sneeze"], ["m0002_0_cough"],
        ["f0001_0_cough"], ["m0002_0_laughter"],
    ]  # fmt: skip
    assert [(record["kind"], record["index"]) for record in records] == probes
    assert records[0] == {
        "type": "probe", "kind": "silenced", "index": 0, "sample_id": "f0001_0_cough",
        "text": "C: Cough", "answer": "cough", "option_logits": [], "error": "",
    }  # fmt: skip
    assert phase["name"] == "probes"
    assert phase["seconds"] > 0
    # Asked last: the whole clip, by itself.
    assert backend.requests["f0001_0_cough"].audio[0].waveform.any()
    assert not backend.requests["f0001_0_sneeze"].audio[0].waveform.any()


def test_a_probe_that_fails_is_logged_as_such_and_no_split_of_the_run(
    work, scripted, tmp_path, progress
):
    backend = scripted(f0001_0_cough=MemoryError())
    probes = [("silenced", 0), ("silenced", 1), ("alone", 4)]
    records = asked_of(work(*probes), backend, tmp_path, progress)
    assert [record["type"] for record in records] == ["probe", "probe", "probe", "phase"]
    failed, done, too_long = records[:3]
    assert (failed["text"], failed["answer"], failed["error"]) == ("", None, "out of memory")
    assert (done["answer"], done["error"]) == ("sneeze", "")
    assert too_long["error"].startswith("the clip is 2.50 s long")


def test_without_probes_nothing_is_asked_or_logged(work, scripted, tmp_path, progress):
    backend = scripted()
    assert asked_of(work(), backend, tmp_path, progress) == ()
    assert backend.batches == []


def test_what_the_log_has_is_not_asked_again():
    manifest = {"probes": {"alone": [4, 0, 4], "silenced": [4]}}
    assert planned_probes(manifest) == [("silenced", 4), ("alone", 4), ("alone", 0)]
    have = [
        {"kind": "alone", "index": 4, "error": "out of memory"},
        {"kind": "silenced", "index": 0, "error": ""},
        {"kind": "of a later version", "index": 4, "error": ""},
    ]
    assert missing_probes(manifest, have) == [("silenced", 4), ("alone", 0)]
    assert missing_probes({}, have) == []


def test_probes_are_asked_though_the_log_has_their_samples(work, monkeypatch):
    monkeypatch.setattr(batches_module, "short_digest", lambda _: b"known")
    probed = work(("silenced", 1), ("alone", 1))
    probed.logged.keys |= {b"known"}
    found = probe_batches(probed)
    assert [batch.is_done for batch in found] == [False, False]
    assert [[member.probe for member in batch.members] for batch in found] == [
        ["silenced"], ["alone"],
    ]  # fmt: skip
