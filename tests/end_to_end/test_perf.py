"""Sweeps as users start, kill and continue them; their figures are other tests' business."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from modeltest.runlog.sweep_log import read_sweep

# Little of everything: whether a busy machine's figures are stable is not asked here.
SHORT = ("--device", "cpu", "--passes", "3", "--max-output-length", "4")
NULL = ("perf", "null", *SHORT)
# Threads that wait for each other on a busy machine make seconds of milliseconds.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
MEASURED = {0, 3}


@pytest.fixture
def run_pa(checkout) -> Callable[..., subprocess.CompletedProcess]:
    def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", str(checkout / "scripts" / "run_pa.sh"), *arguments],
            cwd=folder, capture_output=True, text=True, check=False, timeout=200,
            env={
                **os.environ, **ONE_THREAD, "PYTHONPATH": str(checkout),
                "MODELTEST_PYTHON": sys.executable,
            },
        )  # fmt: skip

    return command


def run_folder(folder: Path) -> Path:
    [path] = folder.glob("outputs/*/modeltest/*/performance_result/*")
    return path


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end_s = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)


def num_records(folder: Path, kind: str) -> int:
    logs = folder.glob("outputs/*/modeltest/*/performance_result/*/log/*.jsonl")
    return sum(path.read_bytes().count(f'"type":"{kind}"'.encode()) for path in logs)


def reports(folder: Path) -> dict[Path, bytes]:
    suffixes = {".csv", ".html", ".png"}
    return {path: path.read_bytes() for path in folder.iterdir() if path.suffix in suffixes}


def assert_rebuilt(modeltest, folder: Path, code: int) -> None:
    """Every report comes back byte for byte from segments whose names are in another order."""
    before = reports(folder)
    for path in before:
        path.unlink()
    segments = sorted((folder / "log").glob("*.jsonl"))
    for number, path in enumerate(segments):
        path.rename(path.with_name(f"z{len(segments) - number:02}-0-1.jsonl"))
    place = {"LC_ALL": "C", "TZ": "Pacific/Kiritimati", "PYTHONUTF8": "0"}
    assert modeltest(Path("/"), "report", str(folder), **place).code == code
    assert reports(folder) == before


def measuring_child(parent: int) -> int | None:
    """The process that `--isolate` started, once it has its segment."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ppid = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            files = [os.readlink(link) for link in (path / "fd").iterdir()]
            if ppid == parent and any(name.endswith(".jsonl") for name in files):
                return int(path.name)
    return None


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_sweep_of_the_embedded_model_leaves_everything_where_it_is_promised(modeltest, tmp_path):
    done = modeltest(tmp_path, "perf", "--bs", "2,1", "--min-seconds", "0.1", *SHORT, **ONE_THREAD)
    assert done.code in MEASURED, done.err
    assert done.err.startswith("no MODEL given: measuring the embedded model, qwen2_audio_tiny\n")
    folder = run_folder(tmp_path)
    assert folder.parts[-4:-1] == ("modeltest", "qwen2_audio_tiny", "performance_result")
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "benchmark.csv", "qwen2_audio_tiny_performance.csv", "report.html", "manifest.json", "log",
        "run.log",
    }  # fmt: skip
    assert not (folder / "lock").exists()
    rows = pandas.read_csv(folder / "benchmark.csv")
    assert list(zip(rows["batch_size"], rows["mode"], strict=True)) == [
        (1, "fixed"), (2, "fixed"), (1, "natural"), (2, "natural"),
    ]  # fmt: skip
    assert list(rows["output_tokens"][:2]) == [4, 4]
    content = read_sweep(folder)
    assert len(content.blocks) == 4 * 3
    assert content.peaks is not None
    kinds = Counter((r["mode"], r["kind"]) for r in content.rounds)
    assert kinds["fixed", "distinct"] >= 10
    assert kinds["natural", "distinct"] == 0
    index = pandas.read_csv(tmp_path / "outputs" / "index.csv")
    assert len(index) == 1
    assert {path.suffix for path in reports(folder)} == {".csv", ".html", ".png"}
    assert_rebuilt(modeltest, folder, done.code)
    assert folder.name in modeltest(tmp_path, "list", "runs").out
    other = modeltest(tmp_path, "eval", "vocalsound_mini", "null", "--resume", "last")
    assert (other.code, "is a run of `modeltest perf`" in other.err) == (2, True)


def test_a_task_is_measured_with_its_accuracy(modeltest, tmp_path):
    arguments = ("--task", "vocalsound_mini", "--limit", "5", "--bs", "2", "--min-seconds", "0.001")
    done = modeltest(tmp_path, *NULL, *arguments)
    assert done.code in MEASURED, done.err
    content = read_sweep(run_folder(tmp_path))
    assert content.manifest["task"]["name"] == "vocalsound_mini"
    data = content.manifest["data"]
    assert (data["num_samples"], data["num_available"]) == (5, 120)
    assert {record["total"] for record in content.outputs} == {5}
    assert all(len(record["batches"]) == 3 for record in content.rounds)


def test_a_killed_sweep_continues_at_the_missing_blocks(start, modeltest, tmp_path):
    arguments = (*NULL, "--bs", "1,2,4,8", "--min-seconds", "0.004")
    process = start(tmp_path, *arguments)
    wait_for(lambda: num_records(tmp_path, "block") >= 3)
    process.kill()
    process.wait()
    complete = read_sweep(run_folder(tmp_path)).blocks
    assert 3 <= len(complete) < 24
    changed = modeltest(tmp_path, *arguments, "--resume", "last", "--repeats", "6")
    assert (changed.code, "sweep.min_repeats was 5, is 6" in changed.err) == (2, True)
    done = modeltest(tmp_path, *arguments, "--resume", "last")
    assert done.code in MEASURED, done.err
    content = read_sweep(run_folder(tmp_path))
    assert len(content.blocks) == 24
    assert num_records(tmp_path, "block") == 24
    assert [r["pass"] for r in content.rounds] == sorted(r["pass"] for r in content.rounds)
    assert {record["pass"] for record in content.rounds} == {0, 1, 2}
    assert len(list((content.folder / "log").iterdir())) == 2
    assert_rebuilt(modeltest, content.folder, done.code)


def test_ctrl_c_prints_the_command_that_continues(start, tmp_path, checkout):
    process = start(tmp_path, *NULL, "--bs", "1,2,4,8", "--min-seconds", "0.004")
    wait_for(lambda: num_records(tmp_path, "block") >= 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    [command] = [line for line in err.splitlines() if line.startswith("to continue: ")]
    done = subprocess.run(
        ["bash", "-c", command.removeprefix("to continue: ")],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    assert done.returncode in MEASURED, done.stderr
    assert len(read_sweep(run_folder(tmp_path)).blocks) == 24


def test_another_sweeps_log_and_inner_damage_are_noticed(modeltest, tmp_path):
    arguments = (*NULL, "--bs", "1", "--modes", "natural", "--min-seconds", "0.001")
    folders = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        assert modeltest(tmp_path / name, *arguments).code in MEASURED
        folders.append(run_folder(tmp_path / name))
    [own], [foreign] = ([*(folder / "log").iterdir()] for folder in folders)
    content = own.read_bytes()
    own.write_bytes(foreign.read_bytes())
    done = modeltest(tmp_path / "one", "report", "last")
    assert done.code == 3
    assert "belongs to another run, or manifest.json was changed" in done.out.splitlines()[0]
    assert set(pandas.read_csv(folders[0] / "null_performance.csv")["validity"]) == {"INVALID"}
    lines = content.splitlines(keepends=True)
    own.write_bytes(b"".join([*lines[:2], b"?" + lines[2][1:], *lines[3:]]))
    refused = modeltest(tmp_path / "one", *arguments, "--resume", "last")
    assert refused.code == 2
    command = shlex.join(["modeltest", "report", str(folders[0].resolve()), "--repair"])
    assert refused.err.splitlines()[-1].endswith(f"rescue its whole records first: {command}")
    assert list((folders[0] / "log").iterdir()) == [own]
    assert "1 lines lost" in modeltest(tmp_path / "one", "report", "last", "--repair").err
    assert modeltest(tmp_path / "one", *arguments, "--resume", "last").code in MEASURED


def test_a_killed_process_of_an_isolated_sweep_costs_its_point_only(start, modeltest, tmp_path):
    process = start(
        tmp_path, *NULL, "--bs", "1,2", "--modes", "natural", "--min-seconds", "0.03", "--isolate"
    )
    found: list[int | None] = []

    def caught() -> bool:
        found[:] = [measuring_child(process.pid)]
        return found[0] is not None

    wait_for(caught)
    os.kill(found[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    content = read_sweep(run_folder(tmp_path))
    [failure] = content.failures
    assert failure["reason"] == "process ended by signal 9"
    survivor = 3 - failure["batch_size"]
    assert content.blocks == {(survivor, "natural", number) for number in range(3)}
    ranks = [path.name.split("-")[-2] for path in (content.folder / "log").iterdir()]
    assert len(set(ranks)) == len(ranks) == 1 + 4  # the parent's, the killed one's, three more
    assert_rebuilt(modeltest, content.folder, 3)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_an_isolated_process_ends_with_its_parent(start, tmp_path, number, code):
    arguments = (*NULL, "--bs", "1", "--modes", "natural", "--isolate")
    process = start(tmp_path, *arguments, "--min-seconds", "60")
    wait_for(lambda: measuring_child(process.pid) is not None)
    child = measuring_child(process.pid)
    process.send_signal(number)
    assert process.wait(timeout=20) == code
    wait_for(lambda: not is_alive(child), seconds=5)


PA_LENGTHS = ("2", "200", "4")


@pytest.fixture
def one_clip(tmp_path, mini_clips) -> Path:
    folder = tmp_path / "a 'folder' $(touch CANARY)"
    folder.mkdir()
    shutil.copy(mini_clips[0], folder)
    (folder / "notes.txt").write_text("no audio")
    return folder


def test_run_pa_answers_for_each_file(run_pa, tmp_path, one_clip, mini_clips, tiny_model):
    shutil.copy(mini_clips[1], one_clip)
    weights = tmp_path / "the 'weights'"
    weights.symlink_to(tiny_model)
    done = run_pa(tmp_path, "--run", weights.name, one_clip.name, *PA_LENGTHS, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    first, tokens, second, all_tokens = done.stdout.splitlines()
    assert first.startswith("Answer[0]: ")
    assert second.startswith("Answer[1]: ")
    assert tokens.startswith("Generate[0] token num: (0, ")
    assert all_tokens.startswith("Generate[1] token num: (1, ")
    assert not (tmp_path / "outputs").exists()
    assert list(tmp_path.rglob("CANARY")) == []


def test_run_pa_measures_up_to_the_largest_batch(run_pa, tmp_path, one_clip, tiny_model):
    done = run_pa(
        tmp_path, "--performance", str(tiny_model), one_clip.name, *PA_LENGTHS,
        "--device", "cpu", "--passes", "3", "--min-seconds", "0.1",
    )  # fmt: skip
    assert done.returncode in MEASURED, done.stderr
    [path] = [word for word in done.stdout.split() if word.endswith("qwen2_audio_performance.csv")]
    rows = pandas.read_csv(tmp_path / path, skipinitialspace=True)
    assert list(rows["batch"]) == [1, 2]
    assert list(rows["output_len"]) == [4, 4]
    manifest = json.loads((run_folder(tmp_path) / "manifest.json").read_text())
    assert manifest["sweep"]["modes"] == ["fixed"]
    assert manifest["model"]["settings"]["model_path"] == str(tiny_model)
    assert list(tmp_path.rglob("CANARY")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "usage:"),
        (("--run", "weights"), "usage:"),
        (("--precision", "weights", "audio"), "usage:"),
        (("--run", "weights", "audio", "many"), "positive whole numbers, not 'many'"),
        (("--run", "weights", "audio", "0"), "positive whole numbers, not '0'"),
        (("--run", "weights", "audio", "1", "2", "3", "4"), "usage:"),
        (("--performance", "no weights", "audio"), "WEIGHTS no weights: no such folder"),
        (("--run", "/", "no clips"), "AUDIO_DIR no clips: no such folder"),
    ],
    ids=lambda value: shlex.join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_line_and_exit_2(run_pa, tmp_path, arguments, said):
    done = run_pa(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_run_pa_explains_itself(run_pa, tmp_path):
    done = run_pa(tmp_path, "--help")
    assert done.returncode == 0
    assert "--performance WEIGHTS AUDIO_DIR [MAX_BATCH" in done.stdout
    assert "set -euo" not in done.stdout


def test_a_long_input_is_one_line_and_exit_2(modeltest, tmp_path):
    done = modeltest(
        tmp_path, "perf", "--bs", "1", "--max-input-length", "10", *SHORT, **ONE_THREAD
    )
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert "f0059_0_laughter: the request has 102 input tokens" in last
    assert "--max-input-length allows 10" in last
    assert "to continue" not in done.err
    assert not list(tmp_path.rglob("manifest.json"))
