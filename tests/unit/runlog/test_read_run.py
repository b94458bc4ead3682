"""Several segments, several processes, one run."""

import os
import random
import re
from dataclasses import replace

import pytest

from modeltest.errors import DataError, StorageError
from modeltest.records import AudioFacts, AudioSource, Sample
from modeltest.runlog import first_version
from modeltest.runlog.keys import data_sha256, record_row, reply_key, sample_key, sample_row
from modeltest.runlog.log_reader import head_record, needs_heads
from modeltest.runlog.manifest import manifest_sha256, write_manifest
from modeltest.runlog.repair import repair
from modeltest.runlog.run_log import open_segment, phase_record, read_run, worker_record
from modeltest.runlog.segment import SegmentWriter, encode_line


@pytest.fixture
def write(tmp_path, eval_manifest):
    """Writes named segments below a run's folder and returns it."""

    def segments(**records):
        write_manifest(tmp_path, eval_manifest)
        for name, content in records.items():
            with SegmentWriter(tmp_path / "log" / f"{name}.jsonl") as segment:
                if needs_heads(eval_manifest):
                    segment.append(head_record(manifest_sha256(tmp_path)))
                for record in content:
                    segment.append(record)
        return tmp_path

    return segments


def ids(run):
    return [record["sample_id"] for record in run.samples]


def test_shuffled_segments_come_back_in_the_tasks_order(write, sample):
    records = [sample(index) for index in range(12)]
    random.Random(7).shuffle(records)
    run = read_run(write(a=records[:5], b=records[5:]))
    assert ids(run) == [f"id{index}" for index in range(12)]
    assert run.problems == run.torn == ()


def test_one_key_with_the_same_text_is_one_sample(write, sample):
    run = read_run(write(a=[sample(0), sample(1)], b=[sample(1), sample(2)]))
    assert ids(run) == ["id0", "id1", "id2"]
    assert run.problems == ()


def test_one_key_with_another_text_is_a_problem_that_names_the_sample(write, sample):
    run = read_run(write(a=[sample(0), sample(1, "C")], b=[sample(1, "E")]))
    assert ids(run) == ["id0", "id1"]
    [problem] = run.problems
    assert "id1" in problem


def failure(record):
    return {**record, "response": {**record["response"], "text": "", "error": "it failed"}}


@pytest.mark.parametrize("failed_in", ["a", "b"])
def test_a_failure_beside_a_reply_contradicts_nothing_and_hides_nothing(write, sample, failed_in):
    other = "b" if failed_in == "a" else "a"
    run = read_run(write(**{failed_in: [failure(sample(0))], other: [sample(0), sample(1)]}))
    assert run.problems == ()
    assert ids(run) == ["id0", "id1"]
    assert [record["response"]["error"] for record in run.samples] == ["", ""]


def test_two_failures_are_one_and_two_replies_beside_one_are_compared(write, sample):
    failed = failure(sample(0))
    other = {**failed, "response": {**failed["response"], "error": "it failed otherwise"}}
    run = read_run(write(a=[failed, failure(sample(1))], b=[other, sample(1)], c=[sample(1, "E")]))
    assert ids(run) == ["id0", "id1"]
    assert run.samples[0]["response"]["error"] == "it failed"
    assert run.problems == ("two different replies for id1",)


def test_samples_with_the_same_id_and_other_keys_stay_apart(write, sample):
    run = read_run(write(a=[sample(0, key="x")], b=[sample(0, "E", key="y")]))
    assert ids(run) == ["id0", "id0"]
    assert run.problems == ()


def test_a_torn_tail_costs_its_record_only(write, sample):
    folder = write(a=[sample(0)], b=[sample(1)])
    with (folder / "log" / "b.jsonl").open("ab") as segment:
        segment.write(encode_line(sample(2))[:-1])
    run = read_run(folder)
    assert ids(run) == ["id0", "id1"]
    assert run.torn == ("b.jsonl",)
    assert run.problems == ()


def test_damage_inside_a_segment_is_a_problem_that_names_it(write, sample):
    folder = write(a=[sample(0)], b=[sample(1)])
    lines = [encode_line(sample(2)), b"garbage\n", encode_line(sample(3))]
    (folder / "log" / "c.jsonl").write_bytes(b"".join(lines))
    run = read_run(folder)
    assert ids(run) == ["id0", "id1", "id2"]
    [problem] = run.problems
    assert "c.jsonl" in problem


def test_phases_are_kept_in_the_order_of_the_log(write, sample):
    first = [
        phase_record("load", 2.5, torch="2.6"),
        sample(0),
        phase_record("eval", 4.0, num_samples=1),
    ]
    run = read_run(write(a=first, b=[phase_record("eval", 1.0, num_samples=0)]))
    assert [(phase["name"], phase["seconds"]) for phase in run.phases] == [
        ("load", 2.5), ("eval", 4.0), ("eval", 1.0),
    ]  # fmt: skip
    assert run.phases[0]["torch"] == "2.6"


def test_workers_of_all_segments_are_kept(write, sample):
    first, second = (
        worker_record(number, {"name": f"device {number}"}, {"host": {"name": "h"}})
        for number in (0, 1)
    )
    run = read_run(write(a=[first, sample(0)], b=[second]))
    assert run.workers == (first, second)
    assert run.problems == ()


def test_a_worker_without_a_device_is_damage_that_names_the_segment(write, sample):
    record = worker_record(0, {"name": "d", "simulated": "no"}, {"host": {"name": "h"}})
    run = read_run(write(a=[sample(0), record]))
    assert run.workers == ()
    assert run.problems == ("segment a.jsonl is damaged inside; see modeltest report --repair",)


def test_a_run_without_a_log_has_no_samples(write):
    run = read_run(write())
    assert run.samples == run.phases == run.problems == run.torn == run.workers == ()


def test_a_folder_without_a_manifest_is_no_run(tmp_path):
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "manifest.json"))):
        read_run(tmp_path)


def test_each_opened_segment_is_a_new_file_named_by_host_rank_and_start(write, sample):
    folder = write()
    for rank in (0, 0, 3):
        with open_segment(folder, rank) as segment:
            segment.append(sample(rank))
    files = sorted((folder / "log").iterdir())
    assert len(files) == 3
    ranks = [re.fullmatch(r"[A-Za-z0-9-]+-(\d)-\d+\.jsonl", file.name)[1] for file in files]
    assert sorted(ranks) == ["0", "0", "3"]
    assert ids(read_run(folder)) == ["id0", "id3"]


def test_a_key_covers_sample_truth_metadata_audio_identity_and_repeat():
    clip = AudioFacts("ab" * 32, 99, 1.0, 16_000, 1, "FLAC/PCM_16")
    other = AudioFacts("cd" * 32, 99, 1.0, 16_000, 1, "FLAC/PCM_16")
    source = (AudioSource("a.flac"),)
    plain = Sample("a", source, "cough", {"age": "27", "gender": "female"})
    keys = [
        sample_key(plain, (clip,), "identity"),
        sample_key(replace(plain, sample_id="b"), (clip,), "identity"),
        sample_key(replace(plain, truth="sneeze"), (clip,), "identity"),
        sample_key(replace(plain, metadata={"age": "27", "gender": "male"}), (clip,), "identity"),
        sample_key(replace(plain, metadata={}), (clip,), "identity"),
        sample_key(plain, (other,), "identity"),
        sample_key(plain, (clip, clip), "identity"),
        sample_key(plain, (clip,), "another prompt"),
        reply_key(sample_row(plain, (clip,)), "identity", repeat=1),
    ]
    assert len(set(keys)) == len(keys)
    moved = Sample("a", (AudioSource("b/a.flac"),), "cough", {"gender": "female", "age": "27"})
    assert sample_key(moved, (clip,), "identity") == keys[0]


def test_the_parts_of_a_key_cannot_be_shifted():
    def key(sample_id, truth, **metadata):
        return sample_key(Sample(sample_id, (), truth, metadata), (), "identity")

    keys = [
        key("a", "b"),
        key("a', 'b", ""),
        key("ab", ""),
        key("a", "", b=""),
        key("a", "", b="'"),
    ]
    assert len({*keys, key("\ud800", ""), key("\\ud800", ""), key("é", ""), key("e", "")}) == 9


@pytest.fixture
def whole(eval_manifest, sample):
    """Two samples as a run of an identity logs them, and its manifest."""

    def make(version, **metadata):
        records = [{**sample(index), "metadata": metadata or {"age": "27"}} for index in (0, 1)]
        if version == 1:
            for record in records:
                record["key"] = first_version.record_key(record, "identity")
            sha256 = first_version.data_sha256(records)
        else:
            for record in records:
                record["key"] = reply_key(record_row(record), "identity")
            sha256 = data_sha256(b"".join(map(record_row, records)))
        data = {**eval_manifest["data"], "num_samples": 2, "sha256": sha256}
        eval_manifest.update(schema_version=version, identity_sha256="identity", data=data)
        return records

    return make


@pytest.mark.parametrize("version", [1, 2, 3])
def test_keys_and_data_are_those_of_the_manifests_version(write, whole, version):
    first, second = whole(version)
    run = read_run(write(a=[second], b=[first]))
    assert (ids(run), run.problems) == (["id0", "id1"], ())


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_sample_of_another_identity_is_a_stranger(write, whole, version):
    first, second = whole(version)
    run = read_run(write(a=[first, {**second, "key": first["key"][::-1]}]))
    assert run.problems == ("1 samples in the log belong to another run",)


def test_edited_metadata_belongs_to_another_run(write, whole):
    first, second = whole(2)
    run = read_run(write(a=[first, {**second, "metadata": {"age": "72"}}]))
    assert run.problems == ("1 samples in the log belong to another run",)


def test_samples_whose_metadata_is_not_the_manifests(write, whole, eval_manifest):
    whole(2, age="72")
    data = eval_manifest["data"]
    records = whole(2)
    eval_manifest["data"] = data
    assert read_run(write(a=records)).problems == (
        "the samples in the log are not those of the manifest",
    )


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to itself"])
def test_what_is_no_file_in_the_log_is_refused_and_never_waited_for(write, sample, kind):
    folder = write(a=[sample(0)])
    path = folder / "log" / "zz.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    with pytest.raises(DataError, match=r"zz\.jsonl: cannot be read"):
        read_run(folder)
    with pytest.raises(DataError, match=r"zz\.jsonl: cannot be read"):
        repair(folder)


def test_a_log_that_cannot_be_opened_is_the_disks_fault(tmp_path):
    (tmp_path / "manifest.json").touch()
    (tmp_path / "log").write_text("a file in the folder's place")
    with pytest.raises(StorageError, match="cannot be made"):
        open_segment(tmp_path)


def test_a_whole_line_that_is_no_record_is_damage_and_is_repaired_away(write, sample):
    folder = write(a=[sample(0), {"type": "sample"}])
    [problem] = read_run(folder).problems
    assert "a.jsonl" in problem
    [told] = repair(folder)
    assert "1 lines lost" in told
    assert read_run(folder).problems == ()
    assert ids(read_run(folder)) == ["id0"]


@pytest.mark.parametrize(
    "part",
    [
        {"truth": "x"},
        {"subsets": ["class=x"]},
        {"subsets": ["gender=female"]},
        {"subsets": ["all"]},
        {"subsets": [""]},
        {"score": {"answer": "x", "correct": True, "legacy_answer": None, "legacy_correct": True}},
        {"score": {"answer": None, "correct": True, "legacy_answer": "x", "legacy_correct": True}},
    ],
    ids=str,
)
def test_a_sample_of_another_task_is_refused_in_one_line(write, sample, part):
    folder = write(a=[sample(0), {**sample(1), **part}])
    with pytest.raises(DataError, match="id1 has labels or slices that the manifest's task has"):
        read_run(folder)
