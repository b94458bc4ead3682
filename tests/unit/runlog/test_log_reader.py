"""Whose a segment is: its head names the manifest, whatever the records behind it say."""

import hashlib
import json

import pytest

from modeltest.errors import StorageError
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.repair import repair
from modeltest.runlog.run_log import open_segment, phase_record, read_run
from modeltest.runlog.segment import encode_line, read_segment
from modeltest.runlog.sweep_log import read_sweep

FOREIGN = "segment a.jsonl belongs to another run, or manifest.json was changed"
RECORDS = [phase_record("load", 1.0), phase_record("warm_up", 2.0), phase_record("end", 3.0)]


@pytest.fixture(params=["eval", "perf"])
def read(request):
    """Reads a run of each command."""
    return {"eval": read_run, "perf": read_sweep}[request.param]


@pytest.fixture
def begin(read, eval_manifest, perf_manifest, tmp_path):
    """Writes a run's manifest; returns its folder."""

    def write(name="run", version=3, **changes):
        manifest = eval_manifest if read is read_run else perf_manifest
        folder = tmp_path / name
        write_manifest(folder, {**manifest, "schema_version": version, **changes})
        (folder / "log").mkdir(exist_ok=True)
        return folder

    return write


def head(folder):
    """By the description of the format, not by the code."""
    content = (folder / "manifest.json").read_bytes()
    return {"type": "head", "manifest_sha256": hashlib.sha256(content).hexdigest()}


def log(folder, *records, name="a.jsonl"):
    path = folder / "log" / name
    path.write_bytes(b"".join(map(encode_line, records)))
    return path


def test_an_opened_segment_begins_with_the_digest_of_the_manifests_bytes(begin, read):
    folder = begin()
    with open_segment(folder) as segment:
        segment.append(RECORDS[0])
    [path] = (folder / "log").iterdir()
    assert read_segment(path).records == (head(folder), RECORDS[0])
    assert read(folder).problems == ()


def test_a_segment_on_another_host_takes_the_digest_that_it_is_told(begin, tmp_path):
    told = head(begin())
    with open_segment(tmp_path / "spool", 1, told["manifest_sha256"]):
        pass
    [path] = (tmp_path / "spool" / "log").iterdir()
    assert read_segment(path).records == (told,)


def test_without_a_manifest_no_segment_is_begun(tmp_path):
    with pytest.raises(StorageError, match=r"manifest\.json: cannot be read"):
        open_segment(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_records_behind_their_runs_head_are_read_without_it(begin, read):
    folder = begin()
    log(folder, head(folder), *RECORDS)
    content = read(folder)
    assert (content.problems, content.torn, content.damaged) == ((), (), ())
    assert list(content.phases) == RECORDS


@pytest.mark.parametrize("version", [1, 2])
def test_runs_of_before_heads_are_read_without_any(begin, read, version):
    folder = begin(version=version)
    log(folder, *RECORDS)
    content = read(folder)
    assert content.problems == ()
    assert list(content.phases) == RECORDS


def test_records_without_a_head_are_nobodys(begin, read):
    folder = begin()
    log(folder, *RECORDS)
    assert read(folder).problems == (FOREIGN,)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_another_runs_segment_is_a_problem_in_a_run_of_any_version(begin, read, version):
    folder, other = begin(version=version), begin("other", started="2025-03-09T17:45:04+08:00")
    log(folder, head(other), *RECORDS)
    assert read(folder).problems == (FOREIGN,)


def test_a_head_of_another_run_without_records_is_one_too(begin, read):
    folder, other = begin(), begin("other", started="")
    log(folder, head(other))
    assert read(folder).problems == (FOREIGN,)


@pytest.mark.parametrize("own_first", [True, False])
def test_two_runs_logs_in_one_file_are_noticed(begin, read, own_first):
    folder, other = begin(), begin("other", started="")
    own, foreign = [head(folder), RECORDS[0]], [head(other), RECORDS[1]]
    log(folder, *(own + foreign if own_first else foreign + own))
    assert read(folder).problems == (FOREIGN,)


def test_several_foreign_segments_are_one_line(begin, read):
    folder = begin()
    for name in ("c.jsonl", "a.jsonl", "b.jsonl"):
        log(folder, *RECORDS, name=name)
    assert read(folder).problems == (
        "segment a.jsonl and 2 more belong to another run, or manifest.json was changed",
    )


@pytest.mark.parametrize("change", ["edited and sealed again", "other white space", "older"])
def test_a_manifest_that_was_changed_is_noticed(begin, read, change):
    folder = begin()
    log(folder, head(folder), *RECORDS)
    path = folder / "manifest.json"
    if change == "other white space":
        path.write_text(json.dumps(json.loads(path.read_text())))
    elif change == "older":
        begin(version=2)
    else:
        begin(started="2025-03-09T17:45:04+08:00")
    assert read(folder).problems == (FOREIGN,)


@pytest.mark.parametrize("num_bytes", [0, 1, 8, 60])
def test_a_segment_that_was_cut_within_its_head_is_harmless(begin, read, num_bytes):
    folder = begin()
    log(folder, head(folder), *RECORDS)
    path = log(folder, head(folder), name="b.jsonl")
    path.write_bytes(path.read_bytes()[:num_bytes])
    content = read(folder)
    assert content.problems == ()
    assert content.torn == (() if num_bytes == 0 else ("b.jsonl",))
    assert list(content.phases) == RECORDS


def damage(path, number):
    """Spoils one line."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = b"?" + lines[number][1:]
    path.write_bytes(b"".join(lines))


def rescued(folder):
    [path] = (folder / "log").glob("*.jsonl")
    return read_segment(path).records


def test_a_repaired_segment_keeps_its_head(begin, read):
    folder = begin()
    damage(log(folder, head(folder), *RECORDS), 2)
    assert (read(folder).damaged, read(folder).torn) == (("a.jsonl",), ())
    [told] = repair(folder)
    assert told == "a.jsonl: 2 records rescued, 1 lines lost"
    note = {"type": "repair", "segment": "a.jsonl", "lines_lost": 1}
    assert rescued(folder) == (head(folder), note, RECORDS[0], RECORDS[2])
    assert (read(folder).problems, read(folder).damaged) == ((), ())


def test_another_runs_segment_stays_foreign_when_it_is_repaired(begin, read):
    folder, other = begin(), begin("other", started="")
    damage(log(folder, head(other), *RECORDS), 2)
    repair(folder)
    [problem] = read(folder).problems
    assert problem.endswith("belongs to another run, or manifest.json was changed")


def test_behind_a_lost_head_nothing_is_rescued(begin, read):
    folder = begin()
    damage(log(folder, head(folder), *RECORDS), 0)
    [told] = repair(folder)
    assert told == (
        "a.jsonl: 0 records rescued, 4 lines lost with the first one, which says whose they are"
    )
    assert [record["type"] for record in rescued(folder)] == ["head", "repair"]
    assert (read(folder).problems, read(folder).phases) == ((), ())


def test_a_run_of_before_heads_is_repaired_as_it_was(begin, read):
    folder = begin(version=2)
    damage(log(folder, *RECORDS), 0)
    [told] = repair(folder)
    assert told == "a.jsonl: 2 records rescued, 1 lines lost"
    assert list(read(folder).phases) == RECORDS[1:]
    assert read(folder).problems == ()
