"""`modeltest report` of runs that are worked on, torn, damaged or repaired."""

import csv
import os
import shutil
import socket

import pytest

from modeltest.cli.main import main
from modeltest.runlog import manifest as manifest_module
from modeltest.runlog.find import find_run
from modeltest.runlog.lock import locked


@pytest.fixture(params=["eval", "perf"])
def kind(request):
    return request.param


@pytest.fixture
def words(clips, tmp_path, kind):
    task = tmp_path / "three.yaml"
    task.write_text(f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: 3\n")
    if kind == "eval":
        return ["eval", str(task), "null", "--device", "cpu", "--bs", "1"]
    return ["perf", "null", "--device", "cpu", "--bs", "1", "--modes", "natural", "--passes", "3",
            "--min-seconds", "0.001", "--max-output-length", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Where a sweep's output folder is kept, to be measured once."""
    return tmp_path_factory.mktemp("sweep") / "outputs"


@pytest.fixture
def run(words, kind, sweep, tmp_path, monkeypatch, capsys):
    """The folder of a run that ended."""
    monkeypatch.chdir(tmp_path)
    clean = {"version": "0.1.0", "commit": None, "dirty": False}
    monkeypatch.setattr(manifest_module, "tool_facts", lambda: clean)
    outputs = tmp_path / "outputs"
    if kind == "perf" and sweep.exists():
        shutil.copytree(sweep, outputs)
    else:
        assert main(words) in {0, 3}
    if kind == "perf" and not sweep.exists():
        shutil.copytree(outputs, sweep)
    capsys.readouterr()
    return find_run("last", outputs)


def files(folder):
    """Every file below a folder but the lock, with what tells that it was written again."""
    return {
        path: (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def contents(folder):
    return {path: facts[0] for path, facts in files(folder).items()}


def segment_of(run):
    [segment] = (run / "log").glob("*.jsonl")
    return segment


def cut(run, kind, tail=b""):
    """Leaves the log as it was in the middle of the run; `tail` is behind its last line."""
    segment = segment_of(run)
    lines = segment.read_bytes().splitlines(keepends=True)
    last = b'"type":"sample"' if kind == "eval" else b'"type":"block"'
    kept = max(number for number, line in enumerate(lines) if last in line)
    segment.write_bytes(b"".join(lines[:kept]) + tail)


def verdicts(run, tmp_path):
    with (tmp_path / "outputs" / "index.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, strict=True))
    assert {row["run"] for row in rows} == {run.name}
    return [row["validity"] for row in rows]


@pytest.mark.parametrize("options", [[], ["--lang", "zh"], ["--md"]], ids=" ".join)
def test_of_a_run_that_is_worked_on_it_writes_nothing(run, kind, capsys, monkeypatch, options):
    cut(run, kind, tail=b"0123")  # as a reader sees a record that is being written
    monkeypatch.setenv("ATB_LLM_BENCHMARK_ENABLE", "1")
    before = files(run.parents[4])
    with locked(run):
        assert main(["report", str(run), *options]) == 4
    assert files(run.parents[4]) == before
    assert not os.path.lexists("benchmark_result")
    shown = capsys.readouterr()
    assert "INCOMPLETE" in shown.out
    if options == ["--md"]:
        assert shown.err == ""
        return
    assert shown.out.startswith("INCOMPLETE: ")
    assert str(run.relative_to(os.getcwd()) / "log") in shown.out
    [line] = shown.err.splitlines()
    assert "no file is written" in line
    assert f"process {os.getpid()} on {socket.gethostname()}" in line


def test_a_run_that_is_worked_on_is_not_repaired(run, capsys):
    before = files(run.parents[4])
    with locked(run):
        assert main(["report", str(run), "--repair"]) == 2
    assert files(run.parents[4]) == before
    [line] = capsys.readouterr().err.splitlines()
    assert f"process {os.getpid()} on" in line


def test_it_holds_the_run_while_it_writes(run, monkeypatch):
    from modeltest.cli import outcome
    from modeltest.runlog.lock import is_locked

    write, seen = outcome.write_outcome, []

    def look(folder, **options):
        seen.append(is_locked(folder))
        return write(folder, **options)

    monkeypatch.setattr(outcome, "write_outcome", look)
    main(["report", str(run)])
    assert seen == [True]
    assert not (run / "lock").exists()


@pytest.mark.parametrize("kind", ["eval"])
@pytest.mark.parametrize("what", ["fifo", "folder", "link"])
def test_what_is_no_lock_file_is_one_line(run, capsys, what):
    path = run / "lock"
    {"fifo": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to("elsewhere")}[
        what
    ](path)
    assert main(["report", str(run)]) == 5
    [line] = capsys.readouterr().err.splitlines()
    assert str(path) in line


def test_a_torn_tail_is_told_and_in_no_report(run, kind, capsys):
    cut(run, kind)
    code = main(["report", str(run)])
    whole = contents(run.parents[4])
    capsys.readouterr()
    segment = segment_of(run)
    segment.write_bytes(segment.read_bytes() + b"01234567 {")
    told = (
        f"modeltest: warning: the last line of segment {segment.name} is incomplete and was left "
        "out; a resumed run asks again for what it held"
    )
    for options in ([], ["--md"]):
        assert main(["report", str(run), *options]) == code
        assert capsys.readouterr().err.splitlines() == [told]
    torn = contents(run.parents[4])
    del whole[segment], torn[segment]
    if kind == "perf":  # its page lists the segments
        del whole[run / "report.html"], torn[run / "report.html"]
    assert torn == whole


def test_a_torn_tail_is_told_on_resuming(run, kind, words, capsys):
    cut(run, kind, tail=b"01234567 {")
    name = segment_of(run).name
    assert main([*words, "--resume", str(run)]) in {0, 3}
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert told == [
        f"modeltest: warning: the last line of segment {name} is incomplete and was left out; "
        "a resumed run asks again for what it held"
    ]


# So short a sweep may be INVALID for its times.
@pytest.mark.parametrize("kind", ["eval"])
def test_the_index_follows_damage_and_repair(run, tmp_path):
    [first] = verdicts(run, tmp_path)
    assert first == "VALID"
    segment = segment_of(run)
    whole = segment.read_bytes()
    before = files(tmp_path)[tmp_path / "outputs" / "index.csv"]
    assert main(["report", str(run)]) == 0
    assert files(tmp_path)[tmp_path / "outputs" / "index.csv"] == before
    at = whole.index(b'"type":"sample"')
    segment.write_bytes(whole[:at] + b"'" + whole[at + 1 :])
    assert main(["report", str(run)]) == 3
    assert verdicts(run, tmp_path) == ["INVALID"]
    assert main(["report", str(run), "--repair"]) == 4
    assert verdicts(run, tmp_path) == ["INCOMPLETE"]


@pytest.mark.parametrize("kind", ["eval"])
def test_the_index_follows_reports_that_could_be_written_at_last(run, words, tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise OSError(28, "No space left on device")

    (tmp_path / "outputs" / "index.csv").unlink()
    with monkeypatch.context() as patched:
        patched.setattr("modeltest.reports.files.write_reports", refuse)
        assert main([*words, "--resume", str(run)]) == 5
    assert verdicts(run, tmp_path) == ["INCOMPLETE"]
    assert main(["report", str(run)]) == 0
    assert verdicts(run, tmp_path) == ["VALID"]


def test_a_rebuild_makes_no_index(run, tmp_path):
    (tmp_path / "outputs" / "index.csv").unlink()
    main(["report", str(run)])
    assert not (tmp_path / "outputs" / "index.csv").exists()
