"""The message of a full disk: how much room the rest of a run needs, or how much is free."""

import errno
import os
import re
from collections import namedtuple
from types import SimpleNamespace

import pytest

from modeltest.cli import disk_space
from modeltest.cli.disk_space import saying_what_to_free, space_in_words
from modeltest.cli.main import main
from modeltest.errors import DataError, DeviceError, StorageError
from modeltest.runlog.segment import SegmentWriter

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch):
    """Makes the disk have so many free bytes."""

    def have(num_bytes):
        monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: Usage(0, 0, num_bytes))

    return have


@pytest.fixture
def logged(tmp_path, monkeypatch):
    """A run with so many samples in a log of so many bytes, of so many that were planned."""

    def make(num_done, num_planned, log_bytes):
        (tmp_path / "log").mkdir()
        with open(tmp_path / "log" / "a.jsonl", "wb") as stream:
            stream.truncate(log_bytes)
        manifest = {"data": {"num_samples": num_planned}}
        content = SimpleNamespace(samples=range(num_done), manifest=manifest)
        monkeypatch.setattr("modeltest.runlog.run_log.read_run", lambda _: content)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("num_done", "num_planned", "log_bytes", "needed"),
    [
        # 2 kB a record: 99,000 missing ones are 198 MB, reports of twice 100,000 are 400 MB, and
        # 1 MB; half as much again is 898.5 MB.
        (1_000, 100_000, 2_000_000, "899 MB"),
        (60, 60, 60_000, "2 MB"),  # 1.5 * (120 kB of reports + 1 MB)
        (1, 10_000_000, 1_000, "46 GB"),  # 1.5 * 30.001 GB
    ],
)
def test_what_is_missing_and_the_reports(logged, free, num_done, num_planned, log_bytes, needed):
    free(12_345)
    words = space_in_words(logged(num_done, num_planned, log_bytes))
    assert words == f"the rest of the run needs about {needed}, 12 kB are free"


def test_where_more_is_free_than_is_needed_something_else_is_full(logged, free):
    free(25 * 10**9)
    words = space_in_words(logged(60, 60, 60_000))
    assert words.endswith("2 MB, 25 GB are free: is it a quota, or a limit of file sizes "
                          "(ulimit -f)?")  # fmt: skip


@pytest.mark.parametrize("with_samples", [True, False])
def test_where_nothing_is_known_what_is_free(logged, free, tmp_path, with_samples):
    free(7_654_321)
    folder = logged(0, 60, 0) if with_samples else tmp_path / "not" / "made"
    assert space_in_words(folder) == "7 MB are free"


def test_only_a_full_disk_is_told_of(tmp_path):
    for error in (DataError("x"), DeviceError("x"), StorageError("x"), OSError(errno.EIO, "x")):
        with pytest.raises(type(error)) as raised, saying_what_to_free(tmp_path):
            raise error
        assert raised.value is error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_what_the_disk_said_comes_first(tmp_path, free, number):
    free(0)
    with pytest.raises(StorageError) as raised, saying_what_to_free(tmp_path):
        raise OSError(number, "refused", "a file")
    assert str(raised.value) == (
        f"[Errno {number}] refused: 'a file'; free some space and try again (0 kB are free)"
    )


@pytest.mark.parametrize("where", ["log", "reports"])
def test_a_run_on_a_full_disk_says_it(clips, tmp_path, monkeypatch, capsys, free, where):
    monkeypatch.chdir(tmp_path)
    free(4_000)
    task = tmp_path / "three.yaml"
    task.write_text(f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: 3\n")
    append = SegmentWriter.append

    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse_behind_a_sample(segment, record):
        append(segment, record)
        if record["type"] == "sample":
            monkeypatch.setattr("os.write", refuse)

    if where == "log":
        monkeypatch.setattr(SegmentWriter, "append", refuse_behind_a_sample)
    else:
        monkeypatch.setattr("modeltest.reports.files.write_atomically", refuse)
    assert main(["eval", str(task), "null", "--device", "cpu", "--bs", "1"]) == 5
    [line] = [x for x in capsys.readouterr().err.splitlines() if re.match("modeltest: (?!w)", x)]
    assert line.endswith("(the rest of the run needs about 2 MB, 4 kB are free)")
