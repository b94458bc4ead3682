"""`--dp`: the same results as one process, whatever happens to the workers."""

import csv
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from modeltest.runner.parallel.coordinator import SILENT_S

NUM_CLIPS = 1200  # so many that a run is not over before a test has found its workers
TIMED = {"load_s", "eval_s", "samples_per_s", "audio_seconds_per_s"}


@pytest.fixture(scope="module")
def task(noise_task) -> Path:
    return noise_task(NUM_CLIPS, 4000)


@pytest.fixture(scope="module")
def by_one_process(modeltest, task, tmp_path_factory) -> list[list[str]]:
    done = modeltest(tmp_path_factory.mktemp("one"), *arguments(task, 1))
    assert done.code == 0, done.err
    return samples(done.folder)


def arguments(task: Path, dp: int) -> tuple[str, ...]:
    return ("eval", str(task), "null", "--device", "cpu", "--bs", "2", "--dp", str(dp))


def cells(path: Path, *aside: str) -> list[list[str]]:
    """The cells of a CSV as they are written, without some columns and measured times."""
    with path.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream, strict=True)
    kept = [place for place, name in enumerate(header) if name not in aside]
    if "metric" in header:
        metric, value = header.index("metric"), header.index("value")
        for row in rows:
            row[value] = "a time" if row[metric] in TIMED and row[value] else row[value]
    return [[row[place] for place in kept] for row in (header, *rows)]


def samples(folder: Path) -> list[list[str]]:
    [path] = folder.glob("outputs/*/modeltest/*/*_result/results/**/*_samples.csv")
    return cells(path, "e2e_s")


def num_replies(folder: Path) -> int:
    logs = folder.glob("outputs/*/modeltest/*/*_result/runs/*/log/*.jsonl")
    return sum(path.read_bytes().count(b'"type":"sample"') for path in logs)


def wait_for_replies(folder: Path, count: int) -> None:
    end_s = time.monotonic() + 60
    while num_replies(folder) < count:
        assert time.monotonic() < end_s, f"no {count} replies"
        time.sleep(0.01)


def workers_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"worker_child" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def await_gone(pids: list[int], seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end_s, "a worker outlives its run"
        time.sleep(0.05)


def test_two_workers_give_the_answers_of_one_process(modeltest, whole_run, tmp_path):
    done = modeltest(
        tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--dp", "2", "--device", "cpu"
    )
    assert (done.code, done.out.splitlines()[0]) == (0, "VALID"), done.err
    for kind, aside in (("samples", ["e2e_s"]), ("result", ["run", "created", "dp"])):
        one, two = (cells(run.result_file(kind), *aside) for run in (whole_run, done))
        assert one == two, kind
        assert len(two) > 20
    one, two = (run.result_file("confusion").read_bytes() for run in (whole_run, done))
    assert one == two
    header, *rows = cells(done.result_file("result"))
    assert {row[header.index("dp")] for row in rows} == {"2"}
    # Each worker has a segment of its own, and both had their share.
    logs = sorted((done.run_folder / "log").glob("*.jsonl"))
    counts = [path.read_bytes().count(b'"type":"sample"') for path in logs]
    assert len(counts) == 3
    assert (counts[0], counts[1] + counts[2]) == (0, 120)
    assert min(counts[1:]) > 20


def test_a_killed_worker_costs_nothing_but_time(start, task, by_one_process, tmp_path):
    process = start(tmp_path, *arguments(task, 2))
    wait_for_replies(tmp_path, 40)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("VALID")
    assert samples(tmp_path) == by_one_process


def test_a_worker_that_stands_still_is_noticed(start, task, by_one_process, tmp_path):
    process = start(tmp_path, *arguments(task, 2))
    wait_for_replies(tmp_path, 40)
    os.kill(workers_of(process.pid)[0], signal.SIGSTOP)
    out, err = process.communicate(timeout=SILENT_S + 45)
    assert process.returncode == 0, err
    assert f"dealt again (no sign of life for {SILENT_S:g} s)" in out.splitlines()[0]
    assert samples(tmp_path) == by_one_process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_workers_end_with_their_run_which_can_be_resumed(
    start, modeltest, task, by_one_process, tmp_path, number, code
):
    process = start(tmp_path, *arguments(task, 2))
    wait_for_replies(tmp_path, 40)
    pids = workers_of(process.pid)
    assert len(pids) == 2
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == code
    await_gone(pids, 5)
    assert num_replies(tmp_path) < NUM_CLIPS
    resumed = modeltest(tmp_path, *arguments(task, 2), "--resume", "last")
    assert resumed.code == 0, resumed.err
    assert resumed.out.splitlines()[0] == "VALID"
    assert samples(tmp_path) == by_one_process


@pytest.mark.parametrize("dp", [1, 3])
def test_a_run_is_resumed_with_another_number_of_workers(
    start, modeltest, task, by_one_process, tmp_path, dp
):
    process = start(tmp_path, *arguments(task, 2))
    wait_for_replies(tmp_path, 40)
    process.terminate()
    process.communicate(timeout=10)
    assert num_replies(tmp_path) < NUM_CLIPS
    resumed = modeltest(tmp_path, *arguments(task, dp), "--resume", "last")
    assert (resumed.code, resumed.out.splitlines()[0]) == (0, "VALID"), resumed.err
    assert samples(tmp_path) == by_one_process
