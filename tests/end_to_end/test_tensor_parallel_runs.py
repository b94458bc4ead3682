"""`--tp 2` as users start it: the same answers, and whatever ends a rank ends the run in order."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest

ARGUMENTS = ("eval", "vocalsound_mini", "qwen2_audio_tiny", "--dtype", "fp32", "--tp", "2")
LONG = (*ARGUMENTS, "--bs", "1", "--limit", "40")
ENDS = {  # what happens to the run: exit code, seconds that it may take, what is said
    "rank 1 dies": (5, 60, "rank 1 was ended by SIGKILL"),
    "rank 0 dies": (5, 60, "rank 0 was ended by SIGKILL"),
    "Ctrl-C": (130, 10, "ended by SIGINT"),
}


@pytest.fixture(autouse=True)
def _own_port(monkeypatch):
    with socket.socket() as free:
        free.bind(("", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def ranks_of(pid):
    """Rank → process number, of the ranks that a process started."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_bytes()
        if rank := re.search(rb"(?:^|\0)RANK=(\d)", variables):
            found[int(rank[1])] = int(child)
    return found


def num_samples(folder):
    logs = folder.glob("outputs/*/modeltest/*/*_result/runs/*/log/*.jsonl")
    return sum(path.read_bytes().count(b'"type":"sample"') for path in logs)


def until(condition, seconds=100):
    end_s = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.05)
    return value


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def outputs_of(folder):
    [path] = folder.glob("outputs/*/modeltest/*/*_result/results/**/*_tp2_*_samples.csv")
    samples = pandas.read_csv(path)
    return dict(zip(samples["sample_id"], samples["output"], strict=True))


def test_whatever_ends_a_run_it_can_be_continued(start, tmp_path, golden_replies):
    arguments = LONG
    for what, (code, within_s, said) in ENDS.items():
        before = num_samples(tmp_path)
        process = start(tmp_path, *arguments)
        until(lambda p=process, n=before: p.poll() is not None or num_samples(tmp_path) > n + 1)
        ranks = ranks_of(process.pid)
        assert sorted(ranks) == [0, 1], what
        happened_s = time.monotonic()
        if what == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            os.kill(ranks[int(what.split()[1])], signal.SIGKILL)
        _, err = process.communicate(timeout=within_s)
        assert process.returncode == code, (what, err)
        assert time.monotonic() - happened_s < within_s
        assert said in err
        assert err.count("to continue: ") == 1
        assert "Traceback" not in err
        assert not any(map(is_running, ranks.values()))
        arguments = (*LONG, "--resume", "last")
    done = start(tmp_path, *arguments)
    _, err = done.communicate(timeout=150)
    assert done.returncode == 0, err
    outputs = outputs_of(tmp_path)
    assert len(outputs) == 40
    assert outputs.items() <= golden_replies["raw"].items()
    [manifest] = tmp_path.glob("outputs/*/modeltest/*/*_result/runs/*/manifest.json")
    assert json.loads(manifest.read_text())["place"]["tp"] == 2


def test_the_ranks_end_when_the_command_is_killed(start, tmp_path):
    process = start(tmp_path, *LONG)
    ranks = until(lambda: len(found := ranks_of(process.pid)) == 2 and found)
    process.kill()  # the ranks notice as soon as they watch the pipe
    until(lambda: not any(map(is_running, ranks.values())), seconds=20)


def test_torchrun_may_start_the_ranks(checkout, tmp_path, golden_replies):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    port = ["--master-addr", "127.0.0.1", "--master-port", os.environ["MASTER_PORT"]]
    done = subprocess.run(
        [*command, *port, "-m", "modeltest", *ARGUMENTS, "--limit", "5"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True,
        text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("LIMITED: 5 of 120 samples")
    outputs = outputs_of(tmp_path)
    assert len(outputs) == 5
    assert outputs.items() <= golden_replies["raw"].items()


def test_a_model_is_split_by_powers_of_two(modeltest, tmp_path):
    done = modeltest(tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--tp", "3")
    assert done.code == 2
    assert "invalid choice: 3" in done.err


def test_settings_that_are_wrong_are_said_once(modeltest, tmp_path):
    done = modeltest(tmp_path, *ARGUMENTS, "--set", "promt=x")
    assert done.code == 2
    assert done.err.count("did you mean 'prompt'") == 1
