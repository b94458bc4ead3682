"""Run folders as somebody else may send them: one line, never a traceback, never a hang."""

import json
import os
import shutil
import zlib

import pytest

from modeltest.runlog.manifest import read_manifest, write_manifest

EVAL = ("eval", "vocalsound_mini", "null", "--device", "cpu", "--limit", "4")


@pytest.fixture(scope="module")
def finished(modeltest, tmp_path_factory):
    done = modeltest(tmp_path_factory.mktemp("finished"), *EVAL)
    assert done.code == 0, done.err
    return done


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished.folder / "outputs", tmp_path / "outputs")
    return tmp_path


@pytest.fixture
def run(copied):
    [folder] = copied.glob("outputs/*/modeltest/*/precision_result/runs/*")
    return folder


def line(value) -> bytes:
    text = json.dumps(value).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def told(done) -> str:
    assert "Traceback" not in done.err
    [message] = [text for text in done.err.splitlines() if text.startswith("modeltest: ")]
    return message


@pytest.mark.parametrize(
    "value",
    [{}, {"type": "sample"}, {"type": "phase", "name": "eval"}, {"type": ["x"]}],
    ids=json.dumps,
)
def test_records_of_a_wrong_structure_are_damage(modeltest, copied, run, value):
    [segment] = (run / "log").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes() + line(value))
    done = modeltest(copied, "report", "last")
    assert done.code == 3, done.err
    assert "damaged inside" in done.out.splitlines()[0]
    assert modeltest(copied, "list", "runs").code == 0


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_in_the_log_blocks_nothing(modeltest, copied, run, kind):
    path = run / "log" / "zz.jsonl"
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    for command in (
        ("report", "last"),
        ("report", "last", "--repair"),
        (*EVAL, "--resume", "last"),
    ):
        done = modeltest(copied, *command)
        assert done.code == 2, done.err
        assert "zz.jsonl: cannot be read" in told(done)
    listed = modeltest(copied, "list", "runs")
    assert listed.code == 0
    assert "warning" in listed.err
    assert "zz.jsonl" in listed.err


def test_a_manifest_without_end_is_one_line(modeltest, copied, run):
    (run / "manifest.json").write_text("[" * 200_000)
    done = modeltest(copied, "report", "last")
    assert done.code == 2
    assert "not a readable manifest" in told(done)
    assert modeltest(copied, "list", "runs").code == 0


def test_a_sealed_manifest_without_metrics_is_one_line(modeltest, copied, run):
    manifest = read_manifest(run)
    del manifest["task"]["settings"]["metrics"]
    write_manifest(run, manifest)
    done = modeltest(copied, "report", "last")
    assert done.code == 2
    assert "task.settings.metrics is missing" in told(done)


def test_a_file_in_the_logs_place_is_one_line(modeltest, copied, run):
    shutil.rmtree(run / "log")
    (run / "log").write_text("")
    done = modeltest(copied, *EVAL, "--resume", "last")
    assert done.code == 5, done.err
    assert "cannot be made" in told(done)
