"""`--tp 2` as users start it: the same answers, and whatever ends a rank ends the run in order."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas
import pytest

import modeltest as package

PACKAGED_MODEL = Path(package.__file__).parent / "assets" / "qwen2_audio_tiny"
ONE_PROCESS = ("eval", "vocalsound_mini", "qwen2_audio_tiny", "--dtype", "fp32")
ARGUMENTS = (*ONE_PROCESS, "--tp", "2")
ITS_LENGTH = ("--bs", "1", "--limit", "40")
LONG = (*ARGUMENTS, *ITS_LENGTH)
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


LISTENS = "0A"  # TCP_LISTEN in proc_net_tcp(5)


def listening(pid):
    """Addresses and ports at which a process accepts TCP connections, as Linux writes them."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed in the meantime
            own.add(os.readlink(descriptor))
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return [
        tuple(line[1].split(":"))
        for line in lines
        if line[3] == LISTENS and f"socket:[{line[9]}]" in own
    ]


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
        [to_continue] = [line for line in err.splitlines() if line.startswith("to continue: ")]
        assert "--tp 2" in to_continue
        assert "Traceback" not in err
        assert not any(map(is_running, ranks.values()))
        # The number of ranks is the run's.
        arguments = (*ONE_PROCESS, *ITS_LENGTH, "--resume", "last")
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
    assert until(lambda: not any(map(is_running, ranks.values())), seconds=20)


def test_no_rank_listens_beyond_this_host(start, tmp_path):
    process = start(tmp_path, *LONG)
    try:
        until(lambda: process.poll() is not None or num_samples(tmp_path) > 1)
        ranks = ranks_of(process.pid)
        found = {rank: listening(pid) for rank, pid in ranks.items()}
        assert sorted(found) == [0, 1]
    finally:
        process.kill()
    port = f"{int(os.environ['MASTER_PORT']):04X}"
    assert port in {port for _, port in found[0]}, "rank 0 is the one that the others ask"
    # 127.0.0.1 as a little-endian number.
    loopback = int.from_bytes(socket.inet_aton("127.0.0.1"), sys.byteorder)
    assert {address for each in found.values() for address, _ in each} == {f"{loopback:08X}"}


@pytest.fixture
def torchrun(checkout, tmp_path):
    """`torchrun … -m modeltest ARGUMENTS` on two ranks, of which rank 1 alone could use NPUs."""
    package = tmp_path / "packages" / "torch_npu"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import os, types, torch\n"
        "if os.environ.get('RANK') != '1': raise ImportError('there is no NPU')\n"
        "torch.npu = types.ModuleType('torch.npu')\n"
        "torch.npu.is_available = lambda: True\n"
        "torch.npu.device_count = lambda: 2\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    port = ["--master-addr", "127.0.0.1", "--master-port", os.environ["MASTER_PORT"]]
    path = os.pathsep.join([str(package.parent), str(checkout)])

    def run(*arguments):
        return subprocess.run(
            [*command, *port, "-m", "modeltest", *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
            check=False, timeout=150,
        )  # fmt: skip

    return run


def test_torchrun_may_start_the_ranks(torchrun, tmp_path, golden_replies):
    arguments = (*ARGUMENTS, "--limit", "5")
    done = torchrun(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("LIMITED: 5 of 120 samples")
    outputs = outputs_of(tmp_path)
    assert len(outputs) == 5
    assert outputs.items() <= golden_replies["raw"].items()
    # Nothing is left to do, for which no rank may wait.
    again = torchrun(*arguments, "--resume", "last")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("LIMITED: 5 of 120 samples")


def test_torchrun_has_one_exit_code_for_all_failures(torchrun, modeltest, tmp_path):
    arguments = (*ARGUMENTS, "--set", "promt=x")
    own, torchs = modeltest(tmp_path, *arguments), torchrun(*arguments)
    assert (own.code, torchs.returncode) == (2, 1)
    assert "did you mean 'prompt'" in torchs.stderr


def test_a_checkpoint_that_only_rank_1_finds_damaged(modeltest, tmp_path):
    shutil.copytree(PACKAGED_MODEL, tmp_path / "of rank 0")
    shutil.copytree(PACKAGED_MODEL, tmp_path / "of rank 1")
    weights = tmp_path / "of rank 1" / "model.safetensors"
    os.truncate(weights, 1000)
    settings = f"extends: qwen2_audio_tiny\nmodel_path: {tmp_path}/of rank ${{RANK:-0}}\n"
    (tmp_path / "mine.yaml").write_text(settings)
    start_s = time.monotonic()
    done = modeltest(tmp_path, "eval", "vocalsound_mini", "mine.yaml", "--tp", "2")
    assert time.monotonic() - start_s < 60
    assert done.code == 2
    [line] = done.err.splitlines()
    assert line.startswith("modeltest: ")
    assert f"{weights}: not a whole safetensors file" in line
    assert not list(tmp_path.glob("outputs/*")), "nothing was run"


def test_a_model_is_split_by_powers_of_two(modeltest, tmp_path):
    done = modeltest(tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--tp", "3")
    assert done.code == 2
    assert "invalid choice: 3" in done.err


def test_settings_that_are_wrong_are_said_once(modeltest, tmp_path):
    done = modeltest(tmp_path, *ARGUMENTS, "--set", "promt=x")
    assert done.code == 2
    assert done.err.count("did you mean 'prompt'") == 1
