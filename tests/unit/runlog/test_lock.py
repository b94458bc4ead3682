import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from modeltest.errors import DataError, StorageError
from modeltest.runlog.lock import is_locked, locked, refuse_locked

HOLD = """
import sys, time
from pathlib import Path
from modeltest.runlog.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
START = """
import sys, time
from pathlib import Path
from modeltest.errors import DataError
from modeltest.runlog.lock import locked, refuse_locked
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    refuse_locked(folder)
    with locked(folder):
        print("won", flush=True)
        sys.stdin.readline()
except DataError:
    print("refused", flush=True)
"""
RACE = """
import sys
from pathlib import Path
from modeltest.errors import DataError
from modeltest.runlog.lock import locked
inside = Path(sys.argv[1], "inside")
for _ in range(200):
    try:
        with locked(Path(sys.argv[1])):
            inside.mkdir()  # fails when another process is inside
            inside.rmdir()
    except DataError:
        pass
"""


def test_the_second_is_refused_and_told_who_holds_it(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"held\n"
    assert is_locked(tmp_path)
    start_s = time.monotonic()
    with pytest.raises(DataError, match=rf"process {owner.pid} on "), locked(tmp_path):
        pass
    assert time.monotonic() - start_s < 1
    owner.kill()
    owner.wait()
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)


def test_asking_names_the_owner_and_takes_nothing(tmp_path):
    refuse_locked(tmp_path)
    with locked(tmp_path):
        with pytest.raises(DataError, match=rf"worked on by process {os.getpid()} on "):
            refuse_locked(tmp_path)
        assert is_locked(tmp_path)
    refuse_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_twenty_starters_exactly_one_wins(tmp_path):
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(20)
    ]  # fmt: skip
    assert {starter.stdout.readline() for starter in starters} == {"ready\n"}
    for starter in starters:
        starter.stdin.write("go\n")
        starter.stdin.flush()
    told = [starter.stdout.readline() for starter in starters]
    assert sorted(told) == ["refused\n"] * 19 + ["won\n"]
    for starter in starters:
        starter.communicate()


def test_who_only_asks_does_not_keep_a_starter_out(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    asking = os.open(path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.02, os.close, [asking]).start()
    with locked(tmp_path):
        assert is_locked(tmp_path)


def test_nothing_is_left_behind(tmp_path):
    with locked(tmp_path):
        assert (tmp_path / "lock").is_file()
    assert list(tmp_path.iterdir()) == []
    assert not is_locked(tmp_path)


def test_racing_processes_are_never_inside_together(tmp_path):
    racers = [subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path)]) for _ in range(4)]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0, 0]


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError), locked(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
