import csv
import errno
import fcntl
import os
import subprocess
import sys
import time
from dataclasses import replace

import pandas
import pytest

from modeltest.reports.csv_files import index_row
from modeltest.reports.files import add_to_index, write_reports
from modeltest.reports.index import append_row, correct_row, incomplete_row
from modeltest.reports.summary import summarise
from modeltest.runlog.manifest import write_manifest

INDEX_HEADER = (
    "run,created,command,model,task,device,dtype,metric,value,total,validity,reasons,path"
)

ADD_OFTEN = """
import sys
from dataclasses import replace
from pathlib import Path

from modeltest.reports.files import add_to_index
from modeltest.reports.index import append_row, incomplete_row
from modeltest.reports.summary import summarise
from modeltest.runlog.run_log import read_run

run = read_run(Path(sys.argv[1]))
summary = summarise(run)
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    run_id = f"{sys.argv[2]}-{number}"
    manifest = {**run.manifest, "place": {**run.manifest["place"], "run_id": run_id}}
    append_row(*incomplete_row(manifest, run.folder, "interrupted"))
    add_to_index(replace(run, manifest=manifest), summary)
"""


def test_the_row_says_what_when_how_good_and_where(run):
    row = index_row(run, summarise(run), "2025-03-09/some/run")
    expected = {
        "run": "174503-0a1b2c", "created": "2025-03-09T17:45:03+08:00", "command": "eval",
        "model": "m", "task": "t", "device": "NPU", "dtype": "bf16", "metric": "acc",
        "value": 0.5, "total": 6, "validity": "INVALID", "path": "2025-03-09/some/run",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected


def test_each_run_adds_one_line_below_one_header(run):
    run.folder.mkdir(parents=True)
    summary = summarise(run)
    later = replace(run, manifest={**run.manifest, "started": "2025-03-09T18:45:03+08:00"})
    for each in (run, later, run):  # a run that is resumed after its end is not entered again
        add_to_index(each, summary)
    output = run.folder.parents[5]
    lines = (output / "index.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == INDEX_HEADER
    assert len(lines) == 3
    rows = pandas.read_csv(output / "index.csv")
    assert list(rows["value"]) == [0.5, 0.5]
    assert (output / rows["path"][0]).samefile(run.folder)


def test_runs_that_end_together_do_not_mix_lines(make_run):
    def long_reasons(manifest, _samples):
        manifest["data"]["warnings"].append("warning " * 1500)  # far above a pipe's 4096 bytes

    run = make_run(long_reasons)
    write_manifest(run.folder, run.manifest)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_OFTEN, str(run.folder), f"process{n}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for n in range(3)
    ]  # fmt: skip
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
    assert [child.returncode for child in children] == [0, 0, 0]
    with (run.folder.parents[5] / "index.csv").open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream, strict=True)
    assert ",".join(header) == INDEX_HEADER
    assert {len(row) for row in rows} == {13}
    names = {f"process{n}-{number}" for n in range(3) for number in range(25)}
    assert sorted(row[0] for row in rows) == sorted(names)
    assert {row[7] for row in rows} == {"acc"}, "the later line of each run"


def test_a_link_in_place_of_the_index_is_not_followed(run):
    run.folder.mkdir(parents=True)
    output = run.folder.parents[5]
    (output / "index.csv").symlink_to(output / "target")
    with pytest.raises(OSError, match=r"index\.csv"):
        add_to_index(run, summarise(run))
    assert not (output / "target").exists()


def test_reports_are_written_again_byte_for_byte(run):
    summary = summarise(run)
    paths = write_reports(run, summary)
    assert sorted(paths) == ["confusion", "replies", "report", "results", "samples", "slices"]
    before = {path: path.read_bytes() for path in paths.values()}
    assert all(before.values())
    write_reports(run, summarise(run))
    assert {path: path.read_bytes() for path in paths.values()} == before
    assert paths["report"] == run.folder / "report.html"
    assert [path.name for path in run.folder.iterdir()] == ["report.html"]


@pytest.mark.parametrize("what", [os.mkfifo, os.mkdir])
def test_what_is_no_index_is_not_corrected(tmp_path, what):
    what(tmp_path / "index.csv")
    correct_row(tmp_path / "index.csv", {"run": "174503-0a1b2c", "validity": "VALID"})
    assert [path.name for path in tmp_path.iterdir()] == ["index.csv"]


@pytest.fixture
def index(run):
    """Enters a run's line as it is at some time, or another run's; returns the rows then."""
    run.folder.mkdir(parents=True)
    file = run.folder.parents[5] / "index.csv"

    def enter(validity="VALID", reasons="", run_id="174503-0a1b2c", how=append_row, **cells):
        row = {"run": run_id, "created": "2025-03-09T17:45:03+08:00", "command": "eval",
               "validity": validity, "reasons": reasons, "path": "here", **cells}  # fmt: skip
        how(file, row)
        return [(each["run"][-1], each["validity"], each["reasons"]) for each in rows_of(file)]

    enter.file = file
    return enter


@pytest.mark.parametrize("now", ["INVALID", "INCOMPLETE", "LIMITED"])
def test_a_rebuild_corrects_the_line_of_a_run_with_another_verdict(index, now):
    index("VALID")
    index(run_id="180000-00000d")
    assert index(now, "damaged", how=correct_row) == [("d", "VALID", ""), ("c", now, "damaged")]
    assert index("VALID", how=correct_row) == [("d", "VALID", ""), ("c", "VALID", "")]


def test_a_rebuild_leaves_a_line_with_the_same_verdict(index):
    index("INCOMPLETE", "interrupted by SIGINT")
    index(run_id="180000-00000d")
    before = index.file.stat()
    index("INCOMPLETE", "50 of 60 samples", how=correct_row)
    after = index.file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_rebuild_enters_no_run(index):
    index(run_id="180000-00000d")
    assert index("VALID", how=correct_row) == [("d", "VALID", "")]
    index.file.unlink()
    correct_row(index.file, {"run": "174503-0a1b2c", "validity": "VALID"})
    assert not index.file.exists()


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_the_line_of_an_interrupted_run_is_replaced_when_it_ends(index):
    index("INCOMPLETE", "interrupted by SIGINT")
    index(run_id="180000-00000d")
    index.file.chmod(0o664)
    assert index("INCOMPLETE", "interrupted by SIGTERM") == [
        ("d", "VALID", ""), ("c", "INCOMPLETE", "interrupted by SIGTERM"),
    ]  # fmt: skip
    assert index("LIMITED", "3 of 9") == [("d", "VALID", ""), ("c", "LIMITED", "3 of 9")]
    assert index.file.read_text().splitlines()[0] == INDEX_HEADER
    assert index.file.stat().st_mode & 0o777 == 0o664
    assert [path.name for path in index.file.parent.glob(".*")] == []


def test_a_run_that_ended_once_stays_ended(index):
    index("INVALID", "1 of 6 samples failed")
    before = index.file.read_bytes()
    index("INCOMPLETE", "interrupted by SIGINT")
    assert index.file.read_bytes() == before


def test_a_run_of_the_same_id_of_another_time_or_command_is_another(index):
    index("INCOMPLETE")
    index("VALID", created="2025-03-10T17:45:03+08:00")
    assert len(index("VALID", command="perf")) == 3


def test_a_line_is_one_line_whatever_the_reason_is(index):
    assert index("INCOMPLETE", 'a\n174503-0a1b2c,"x\r\n\x1b[2J') == [
        ("c", "INCOMPLETE", 'a\\n174503-0a1b2c,"x\\r\\n\\x1b[2J')
    ]
    assert len(index.file.read_bytes().splitlines()) == 2
    assert index("VALID") == [("c", "VALID", "")]


def test_a_torn_line_of_another_run_stays_alone(index):
    index(run_id="160000-00000a")
    index.file.write_bytes(index.file.read_bytes()[:-6])
    torn = index.file.read_bytes()
    index("INCOMPLETE")
    index("VALID")
    lines = index.file.read_bytes().split(b"\r\n")
    assert lines[1] == torn.split(b"\r\n")[1]
    assert lines[2].startswith(b"174503-0a1b2c,")
    assert lines[3:] == [b""]


def test_a_torn_line_is_replaced_when_its_run_is_entered_again(index):
    index("VALID", "long enough to be torn")
    whole = index.file.read_bytes()
    index.file.write_bytes(whole[:-12])
    index("VALID", "long enough to be torn")
    assert index.file.read_bytes() == whole


def test_a_full_disk_leaves_the_other_lines(index, monkeypatch):
    index("INCOMPLETE")
    index(run_id="180000-00000d")
    before = index.file.read_bytes()

    def refuse(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            index("VALID")
    assert index.file.read_bytes() == before
    assert [path.name for path in index.file.parent.glob(".*")] == []


def test_a_file_that_another_process_holds_is_not_waited_for_long(index, monkeypatch):
    index()
    monkeypatch.setattr("modeltest.reports.index._WAIT_S", 0.05)
    with index.file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        begin_s = time.monotonic()
        with pytest.raises(OSError, match="another process holds it"):
            index("VALID", run_id="180000-00000d")
    assert time.monotonic() - begin_s < 1
    assert len(index("VALID", run_id="180000-00000d")) == 2


def test_the_line_of_a_run_that_did_not_end_has_no_figure(run):
    run.folder.mkdir(parents=True)
    file, row = incomplete_row(run.manifest, run.folder, "interrupted by SIGINT")
    assert file == run.folder.parents[5] / "index.csv"
    ended = index_row(run, summarise(run), row["path"])
    same = ("run", "created", "command", "model", "task", "device", "dtype", "path")
    assert {key: row[key] for key in same} == {key: ended[key] for key in same}
    assert not {"metric", "value", "total"} & row.keys()
    assert (row["validity"], row["reasons"]) == ("INCOMPLETE", "interrupted by SIGINT")


def test_the_line_of_a_sweep_that_did_not_end(perf_manifest, tmp_path):
    folder = tmp_path / "2025-03-09/modeltest/m/performance_result/174503-0a1b2c"
    place = {"date": "2025-03-09", "run_id": "174503-0a1b2c", "model": "m"}
    file, row = incomplete_row({**perf_manifest, "place": place}, folder, "lost")
    assert file == tmp_path / "index.csv"
    assert (row["command"], row["task"], row["device"], row["dtype"]) == (
        "perf", None, "CPU", "bf16",
    )  # fmt: skip
    assert row["path"] == str(folder.relative_to(tmp_path))
