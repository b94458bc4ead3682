"""A machine whose driver hangs: neither torch_npu nor the vendors' tools ever answer."""

import os
import time

import pytest

pytestmark = pytest.mark.end_to_end

# Well above 10 s, as the machine that runs the tests may be busy; they hang for ten minutes.
AT_MOST_S = 30


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


def test_check_answers_all_the_same(modeltest, tmp_path, machine):
    start_s = time.monotonic()
    done = modeltest(tmp_path, "check", **machine)
    took_s = time.monotonic() - start_s
    print(f"modeltest check took {took_s:.1f} s")
    assert done.code == 2, done.err
    assert took_s < AT_MOST_S
    rows = done.out.splitlines()
    bad = [row for row in rows if row.startswith("✗ ")]
    for said in (
        "nvidia-smi did not answer within 8 s",
        "npu-smi did not answer within 8 s",
        "not imported within 8 s",
    ):
        [row] = [row for row in bad if said in row and " device " not in row]
        assert rows[rows.index(row) + 1].startswith("   "), "what to do"
    assert any(row.startswith("✓ audio") for row in rows)
    assert "Traceback" not in done.err
