"""What `index.csv` says of runs that were interrupted, and of those that were then resumed."""

import csv
import errno
import os

import pytest

from modeltest.backends.null import NullBackend
from modeltest.cli.main import main
from modeltest.errors import DeviceError, StorageError
from modeltest.reports import index
from modeltest.runlog import manifest as manifest_module


@pytest.fixture
def command(clips, tmp_path, monkeypatch):
    """Runs `modeltest eval` on three clips, or `modeltest perf`; `failing` ends it."""
    monkeypatch.chdir(tmp_path)
    clean = {"version": "0.1.0", "commit": None, "dirty": False}
    monkeypatch.setattr(manifest_module, "tool_facts", lambda: clean)
    task = tmp_path / "three.yaml"
    task.write_text(f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: 3\n")
    words = {
        "eval": ["eval", str(task), "null", "--device", "cpu", "--bs", "1"],
        "perf": ["perf", "null", "--device", "cpu", "--bs", "1", "--modes", "natural",
                 "--passes", "3", "--min-seconds", "0.001", "--max-output-length", "2"],
    }  # fmt: skip

    def run(*options, failing=None, name="eval"):
        def fail(*_arguments, **_options):
            raise failing

        with monkeypatch.context() as patched:
            if failing is not None:
                patched.setattr(NullBackend, "load", fail)
            return main([*words[name], *options])

    return run


def rows():
    with open("outputs/index.csv", newline="", encoding="utf-8") as stream:
        return [(each["command"], each["validity"], each["value"], each["reasons"])
                for each in csv.DictReader(stream, strict=True)]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (DeviceError("the device was lost"), 5, "the device was lost"),
        (StorageError("the log cannot be written"), 5, "the log cannot be written"),
        (KeyboardInterrupt(), None, "interrupted by SIGINT"),
        (RuntimeError("a bug\nof ours"), None, r"RuntimeError: a bug\nof ours"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", ["eval", "perf"])
def test_it_is_incomplete_until_it_was_resumed_to_its_end(command, name, error, code, reason):
    if code is None:
        with pytest.raises(type(error)):
            command(failing=error, name=name)
    else:
        assert command(failing=error, name=name) == code
    assert rows() == [(name, "INCOMPLETE", "", reason)]
    ended = command("--resume", "last", name=name)
    [(_, validity, value, _)] = rows()
    assert (ended, validity) in {(0, "VALID"), (3, "INVALID")}
    assert (value != "") == (validity == "VALID" or name == "eval")


def test_a_run_that_ends_incomplete_by_itself_is_entered_with_its_figures(command, monkeypatch):
    from modeltest.records import Response

    def refuse(_backend, requests, *_rest):
        return [Response.failed(each.sample_id, "boom") for each in requests]

    with monkeypatch.context() as patched:
        patched.setattr(NullBackend, "generate", refuse)
        assert command("--fail-on-error", "0") == 4
    [(_, validity, value, reasons)] = rows()
    assert (validity, float(value)) == ("INCOMPLETE", 0)
    assert "1 of 3 samples evaluated" in reasons


def test_a_command_that_may_not_resume_a_run_changes_nothing(command):
    assert command() == 0
    before = rows()
    assert command("--resume", "last", "--seed", "7") == 2
    assert rows() == before


def test_a_run_that_had_ended_stays_so_when_its_resuming_is_interrupted(command, monkeypatch):
    assert command() == 0
    before = rows()

    def interrupt(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("modeltest.reports.files.write_reports", interrupt)
        with pytest.raises(KeyboardInterrupt):
            command("--resume", "last")
    assert rows() == before


def test_a_run_whose_reports_cannot_be_written_is_entered(command, monkeypatch, capsys):
    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("modeltest.reports.files.write_reports", refuse)
        assert command() == 5
    assert "cannot be written" in capsys.readouterr().err
    [(_, validity, value, reasons)] = rows()
    assert (validity, value) == ("INCOMPLETE", "")
    assert "No space left on device" in reasons


@pytest.mark.parametrize("where", ["_append", "_held"])
def test_a_full_disk_hides_neither_the_reason_nor_the_exit_code(
    command, monkeypatch, capsys, where
):
    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(index, where, refuse)
    assert command(failing=StorageError("the log of this run cannot be written")) == 5
    said = capsys.readouterr().err.splitlines()
    assert (
        "modeltest: warning: not entered in index.csv: [Errno 28] No space left on device" in said
    )
    assert "modeltest: the log of this run cannot be written" in said
    with pytest.raises(KeyboardInterrupt):
        command(failing=KeyboardInterrupt())
