"""Whose a process on a device is: ours, another's, or of a namespace that is not seen from here."""

import os
import subprocess
import sys

import pytest

from modeltest.devices.other_processes import other_processes

ME, NOBODY = os.getpid(), 4_999_999  # above Linux's largest number, PID_MAX_LIMIT
MACHINE, CONTAINER = 0xEFFFFFFC, 4026532281  # inodes of PID namespaces


@pytest.fixture
def proc(tmp_path):
    """A /proc of a namespace: this process (its parent is 50), its child 70, its grandchild 71."""

    def make(inode):
        (tmp_path / "self" / "ns").mkdir(parents=True)
        (tmp_path / "self" / "ns" / "pid").symlink_to(f"pid:[{inode}]")
        tree = {ME: 50, 50: 1, 1: 0, 70: ME, 71: 70, 90: 1}
        for pid, parent in tree.items():
            (tmp_path / str(pid)).mkdir()
            stat = f"{pid} (a name) with) 1 2 3) S {parent} 1 1 0 -1"
            (tmp_path / str(pid) / "stat").write_text(stat)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("inode", "listed", "others"),
    [
        (MACHINE, [], []),
        (MACHINE, [ME, 70, 71], []),
        (MACHINE, [ME, 90], [90]),
        (MACHINE, [90, 1, 50], [1, 50, 90]),  # whoever started this process is another user
        (MACHINE, [ME, NOBODY], None),  # ended, or hidden from this user
        (CONTAINER, [], None),  # the tool may show nobody here
        (CONTAINER, [ME], None),
        (CONTAINER, [NOBODY], None),  # may be this process by the host's number
        (CONTAINER, [ME, NOBODY, 90], [90]),
    ],
)
def test_who_else_uses_a_device(proc, inode, listed, others):
    assert other_processes(listed, proc(inode)) == others


def test_a_system_without_proc_tells_nothing(tmp_path):
    assert other_processes([ME], tmp_path) is None
    assert other_processes([90], tmp_path) is None


def test_parents_that_go_round_in_a_circle(proc):
    """As two readings of /proc may show them when numbers are used again."""
    folder = proc(MACHINE)
    (folder / "1" / "stat").write_text("1 (init) S 90 1 1 0 -1")
    assert other_processes([90], folder) == [90]


def test_the_real_proc():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert not other_processes([ME, child.pid])
        assert other_processes([child.pid, os.getppid()]) == [os.getppid()]
    finally:
        child.communicate(b"\n")
