"""A folder that was made is there after a power cut: it is synced into the one above."""

import errno
import os

import pytest

from modeltest.runlog.atomic import make_folder, write_atomically
from modeltest.runlog.layout import PerformancePlace
from modeltest.runlog.segment import SegmentWriter
from modeltest.runner.start import make_run_folder


@pytest.fixture
def synced(tmp_path, monkeypatch):
    """The folders that were synced, relative to the temporary one, in this order."""
    found = []
    sync = os.fsync

    def note(descriptor):
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        if os.path.isdir(target):
            found.append(os.path.relpath(target, tmp_path))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", note)
    return found


def test_each_folder_that_was_made_is_synced_into_the_one_above(tmp_path, synced):
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a/b/c").is_dir()
    assert synced == [".", "a", "a/b"]
    synced.clear()
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == []
    make_folder(tmp_path / "a" / "b" / "d")
    assert synced == ["a/b"]


def test_of_a_relative_path_too(tmp_path, synced, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path.__class__("x", "y"))
    assert synced == [".", "x"]


def test_the_folders_of_a_file_and_of_a_segment(tmp_path, synced):
    write_atomically(tmp_path / "runs" / "1" / "manifest.json", b"{}")
    assert synced == [".", "runs", "runs/1"]
    synced.clear()
    with SegmentWriter(tmp_path / "runs" / "1" / "log" / "a.jsonl"):
        pass
    assert synced == ["runs/1", "runs/1/log"]


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "a").write_text("")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OSError) as refused:  # noqa: PT011  (its number is looked at)
            make_folder(folder)
        assert refused.value.errno in {errno.EEXIST, errno.ENOTDIR}


def test_the_folder_of_a_run(tmp_path, synced):
    make_run_folder(PerformancePlace(tmp_path / "o", "2025-03-09", "174503-0a1b2c", "m"))
    above = "o/2025-03-09/modeltest/m/performance_result"
    assert synced == [".", "o", "o/2025-03-09", "o/2025-03-09/modeltest", above[:-19], above]
