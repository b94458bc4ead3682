"""Records that are read from the log when they are asked for."""

import random

import pytest

from modeltest.errors import DataError
from modeltest.runlog import logged_samples
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.run_log import read_run
from modeltest.runlog.segment import encode_line


@pytest.fixture
def log(tmp_path, eval_manifest):
    """Writes segments of whole lines and reads the run."""

    def write(*segments):
        write_manifest(tmp_path, eval_manifest)
        (tmp_path / "log").mkdir(exist_ok=True)
        for number, records in enumerate(segments):
            lines = b"".join(map(encode_line, records))
            (tmp_path / "log" / f"s{number:03d}.jsonl").write_bytes(lines)
        return read_run(tmp_path)

    return write


def test_any_place_and_any_part(log, sample):
    records = [sample(index) for index in range(30)]
    shuffled = random.Random(3).sample(records, 30)
    run = log(shuffled[:11], [], shuffled[11:])
    assert len(run.samples) == 30
    assert list(run.samples) == records
    assert list(run.samples) == records  # as often as one likes
    assert [run.samples[place] for place in (0, 17, -1)] == [records[0], records[17], records[29]]
    assert list(run.samples[28:]) == records[28:]
    with pytest.raises(IndexError):
        run.samples[30]


def test_more_segments_than_files_may_be_open(log, sample):
    run = log(*([sample(index), sample(index + 100)] for index in range(100)))
    assert [record["index"] for record in run.samples] == list(range(200))


def test_what_is_appended_meanwhile_changes_nothing(log, sample, tmp_path):
    run = log([sample(0), sample(1)])
    with (tmp_path / "log" / "s000.jsonl").open("ab") as segment:
        segment.write(encode_line(sample(2)))
    assert [record["index"] for record in run.samples] == [0, 1]


@pytest.mark.parametrize("change", ["spoilt", "cut", "gone"])
def test_a_log_that_changes_after_it_was_read_is_refused(log, sample, tmp_path, change):
    run = log([sample(0), sample(1)])
    path = tmp_path / "log" / "s000.jsonl"
    if change == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-9] if change == "cut" else content.replace(b"id1", b"id7"))
    with pytest.raises(DataError, match=r"s000\.jsonl: "):
        list(run.samples)


def test_a_signal_while_one_record_is_read_is_not_swallowed(log, sample, monkeypatch):
    run = log([sample(0), sample(1)])

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(logged_samples._OpenSegments, "__exit__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.samples[0]
