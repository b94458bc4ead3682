import subprocess
import sys
import time

import pytest

from modeltest.errors import DataError, StorageError
from modeltest.runlog.lock import is_locked, locked

HOLD = """
import sys, time
from pathlib import Path
from modeltest.runlog.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
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
