"""`report` and `list runs` beside the process that works on a run: they read, and write nothing."""

import os
import shutil
import signal
import time

import pytest

NUM_CLIPS = 1200


@pytest.fixture
def command(noise_task):
    return ("eval", str(noise_task(NUM_CLIPS, 1600)), "null", "--device", "cpu", "--bs", "4")


def reports(folder):
    """Every report file of the only run below a folder."""
    [root] = folder.glob("outputs/*/modeltest/*/precision_result")
    found = (path for path in root.rglob("*") if path.suffix in {".csv", ".txt", ".html"})
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def wait_for_samples(folder, count):
    end_s = time.monotonic() + 60
    pattern = "outputs/*/modeltest/*/precision_result/runs/*/log/*.jsonl"
    while sum(p.read_bytes().count(b'"type":"sample"') for p in folder.glob(pattern)) < count:
        assert time.monotonic() < end_s, "no samples in 60 s"
        time.sleep(0.01)


def test_readers_beside_a_run(start, modeltest, command, tmp_path):
    process = start(tmp_path, *command)
    wait_for_samples(tmp_path, 1)
    # Stopped, so that it certainly works on the run while these read it.
    process.send_signal(signal.SIGSTOP)
    for options in ((), ("--lang", "zh"), ("--embed-audio",), ("--md",)):
        shown = modeltest(tmp_path, "report", "last", *options)
        assert shown.code == 4, shown.err
        assert f" of {NUM_CLIPS} samples evaluated" in shown.out
        assert "Traceback" not in shown.err
        told = [line for line in shown.err.splitlines() if "no file is written" in line]
        assert len(told) == (options != ("--md",))
        assert all(f"process {process.pid} on {os.uname().nodename}" in line for line in told)
        assert reports(tmp_path) == {}
    process.send_signal(signal.SIGCONT)
    read_beside = 0
    while process.poll() is None:
        for words in (("report", "last"), ("list", "runs")):
            shown = modeltest(tmp_path, *words)
            # The run may end between two of these, and is VALID then.
            assert shown.code in ({0, 4} if words[0] == "report" else {0}), shown.err
            assert "Traceback" not in shown.err
            assert "damaged" not in shown.out + shown.err
            read_beside += process.poll() is None
    assert read_beside, "the run ended before anything could be read beside it"
    out, err = process.communicate()
    assert (process.returncode, out.splitlines()[0]) == (0, "VALID"), err
    written = reports(tmp_path)
    assert sum(name.endswith("_result.csv") for name in written) == 1
    assert all(b"INCOMPLETE" not in content for name, content in written.items()
               if name.endswith(".csv"))  # fmt: skip
    [root] = tmp_path.glob("outputs/*/modeltest/*/precision_result")
    shutil.rmtree(root / "results")
    shutil.rmtree(root / "debug")
    assert modeltest(tmp_path, "report", "last").code == 0
    assert reports(tmp_path) == written
