"""A machine whose driver hangs: neither torch_npu nor the vendors' tools ever answer."""

import os
import time

import pytest

pytestmark = pytest.mark.end_to_end

# What is promised of a machine with nothing else to do.
AT_MOST_S = 10.0
# All of it that drivers and their tools are given, together.
ANSWER_S = 8.0


@pytest.fixture
def machine(tmp_path, checkout):
    """The environment of such a machine."""
    packages, programs = tmp_path / "packages", tmp_path / "programs"
    packages.mkdir()
    programs.mkdir()
    (packages / "torch_npu.py").write_text("import time\ntime.sleep(600)\n")
    for name in ("npu-smi", "nvidia-smi"):
        # The shell waits for a program of its own, which is what holds the output open.
        (programs / name).write_text("#!/bin/sh\nsleep 600\necho never\n")
        (programs / name).chmod(0o755)
    return {
        "PYTHONPATH": os.pathsep.join((str(packages), str(checkout))),
        "PATH": os.pathsep.join((str(programs), os.environ["PATH"])),
    }


@pytest.fixture
def timed_check(modeltest, tmp_path):
    """`modeltest check`, and how many seconds it took."""

    def check(**environment):
        start_s = time.monotonic()
        done = modeltest(tmp_path, "check", **environment)
        return done, time.monotonic() - start_s

    return check


def test_check_answers_all_the_same(timed_check, machine):
    _, plain_s = timed_check()
    done, took_s = timed_check(**machine)
    print(f"modeltest check took {took_s:.1f} s, {plain_s:.1f} s where nothing hangs")
    assert done.code == 2, done.err
    # Beside the time that the drivers are given, it takes less than where all answer: how busy
    # the machine is decides both alike.
    assert took_s < max(AT_MOST_S, ANSWER_S + plain_s)
    rows = done.out.splitlines()
    bad = [row for row in rows if row.startswith("✗ ")]
    for said in (
        f"nvidia-smi did not answer within {ANSWER_S:g} s",
        f"npu-smi did not answer within {ANSWER_S:g} s",
        f"not imported within {ANSWER_S:g} s",
    ):
        [row] = [row for row in bad if said in row and " device " not in row]
        assert rows[rows.index(row) + 1].startswith("   "), "what to do"
    assert any(row.startswith("✓ audio") for row in rows)
    assert "Traceback" not in done.err
