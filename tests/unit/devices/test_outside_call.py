"""Programs that answer, hang, hold on to their output, or cannot be killed."""

import os
import signal
import sys
import time

import pytest

from modeltest.devices import outside_call as module
from modeltest.devices.outside_call import Deadline, OutsideCall


@pytest.fixture
def timed():
    """Asks a script of the shell: its answer, and how long that took."""

    def ask(script, limit_s):
        start_s = time.monotonic()
        with OutsideCall(["/bin/sh", "-c", script], Deadline(limit_s)) as call:
            answer = call.answer()
        return answer, time.monotonic() - start_s

    return ask


def ends(pid):
    """Whether a process of this number is gone, or goes soon."""
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_program_that_answers(timed):
    answer, took_s = timed("echo out; echo err >&2; exit 3", 60)
    assert (answer.output, answer.messages, answer.status) == ("out\n", "err\n", 3)
    assert took_s < 20


def test_one_that_ends_by_a_signal(timed):
    assert timed("kill -11 $$", 60)[0].status == -11


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_one_that_hangs_is_killed_with_all_that_it_started(timed):
    answer, took_s = timed("echo $$; sleep 60 & echo $!; wait", 0.5)
    assert answer.status is None
    pids = answer.output.split()
    assert len(pids) == 2, "what it wrote before counts"
    assert all(map(ends, pids))
    assert took_s < 5


def test_output_that_a_grandchild_holds_open_keeps_nobody_waiting(timed):
    answer, took_s = timed("sleep 5 & echo done", 0.5)
    assert (answer.output, answer.status) == ("done\n", 0)
    assert took_s < 4


def test_one_that_cannot_be_killed_is_left_behind(monkeypatch, timed):
    """As a process is that waits for a driver in the kernel."""
    spared = []
    monkeypatch.setattr(module.os, "killpg", lambda pid, _signal: spared.append(pid))
    answer, took_s = timed("sleep 60", 0.3)
    monkeypatch.undo()
    os.killpg(spared[0], signal.SIGKILL)
    assert answer.status is None
    assert took_s < 5


def test_calls_share_a_deadline_and_run_side_by_side():
    start_s = time.monotonic()
    deadline = Deadline(0.5)
    hanging = ["/bin/sh", "-c", "sleep 60"]
    writing = ["/bin/sh", "-c", "echo written; sleep 60"]
    with (
        OutsideCall(hanging, deadline) as first,
        OutsideCall(hanging, deadline) as second,
        OutsideCall(writing, deadline) as third,
    ):
        answers = [call.answer() for call in (first, second, third)]
    assert [answer.status for answer in answers] == [None] * 3
    assert answers[2].output == "written\n"
    assert time.monotonic() - start_s < 5


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_none_outlives_an_interrupted_command(tmp_path):
    note = tmp_path / "pid"
    script = f"echo $$ > {note}.part; mv {note}.part {note}; sleep 60"

    def interrupted():
        with OutsideCall(["/bin/sh", "-c", script], Deadline(60)):
            while not note.exists():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ends(int(note.read_text()))
