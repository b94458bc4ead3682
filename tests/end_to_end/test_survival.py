"""Runs that are interrupted, fought over, damaged or moved, as users meet it."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

LABELS = ("cough", "laughter", "sigh", "sneeze", "sniff", "throatclearing")
NUM_CLIPS = 12
NUM_MANY = 1500
TIMED = {"load_s", "eval_s", "samples_per_s", "audio_seconds_per_s"}
GONE_S = 10.0


def write_task(folder: Path, name: str, count: int) -> Path:
    """A folder of noise and a task file for it, without anything to be warned of."""
    clips = folder / name
    clips.mkdir()
    generator = np.random.default_rng(count)
    for index in range(count):
        clip = clips / f"{'fm'[index % 2]}{index:04d}_0_{LABELS[index % 6]}.wav"
        soundfile.write(clip, generator.uniform(-0.1, 0.1, 1600), 16_000)
    task = folder / f"{name}.yaml"
    task.write_text(
        f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: {count}\n"
    )
    return task


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    return write_task(tmp_path_factory.mktemp("few clips"), "clips", NUM_CLIPS)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return write_task(tmp_path_factory.mktemp("many"), "clips", NUM_MANY)


@pytest.fixture(scope="module")
def finished_run(modeltest, few, tmp_path_factory):
    """An undisturbed run; tests work on copies of it."""
    done = modeltest(tmp_path_factory.mktemp("finished"), "eval", str(few), "null", "--bs", "4",
                     "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def undisturbed_many(modeltest, many, tmp_path_factory) -> dict[str, list]:
    done = modeltest(tmp_path_factory.mktemp("whole"), *eval_arguments(many))
    assert done.code == 0, done.err
    return timeless(done.folder)


@pytest.fixture
def copied(finished_run, tmp_path) -> Path:
    """A folder with a copy of the finished run in `outputs`."""
    shutil.copytree(finished_run.folder / "outputs", tmp_path / "outputs")
    return tmp_path


def eval_arguments(task: Path, *more: str) -> tuple[str, ...]:
    return ("eval", str(task), "null", "--device", "cpu", "--bs", "4", *more)


def run_folder(folder: Path) -> Path:
    [path] = folder.glob("outputs/*/modeltest/*/*_result/runs/*")
    return path


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("outputs/*/modeltest/*/*_result/runs/*/log/*.jsonl"))


def wait_for_samples(folder: Path, count: int) -> None:
    end_s = time.monotonic() + 30
    while sum(path.read_bytes().count(b'"type":"sample"') for path in segments(folder)) < count:
        assert time.monotonic() < end_s, "no samples in 30 s"
        time.sleep(0.01)


def records(folder: Path) -> list[dict]:
    lines = [line for path in segments(folder) for line in path.read_bytes().splitlines()]
    return [json.loads(line[9:]) for line in lines]


def reports(folder: Path) -> dict[str, bytes]:
    """Every report file by its name below `outputs`."""
    root = folder / "outputs"
    paths = (path for path in root.rglob("*") if path.suffix in {".csv", ".txt", ".html"})
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def timeless(folder: Path) -> dict[str, list]:
    """The rows of the CSV files without run id, times and speed."""
    found = {}
    for kind in ("result", "samples", "confusion"):
        [path] = folder.glob(f"outputs/*/modeltest/*/*_result/results/**/*_{kind}.csv")
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))
        for row in rows:
            for name in ("run", "created", "e2e_s"):
                row.pop(name, None)
            if row.get("metric") in TIMED:
                row["value"] = ""
        found[kind] = rows
    return found


def printed_command(err: str) -> str:
    [command] = [line for line in err.splitlines() if line.startswith("to continue: ")]
    return command.removeprefix("to continue: ")


def run_in_bash(command: str, checkout: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_in_order_and_the_printed_command_completes_it(
    start, modeltest, many, tmp_path, checkout, undisturbed_many, number, code
):
    folder = tmp_path / "it's here"
    folder.mkdir()
    process = start(folder, *eval_arguments(many))
    wait_for_samples(folder, 50)
    begin_s = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - begin_s < GONE_S
    assert process.returncode == code, err
    assert "Traceback" not in err
    stop = [record for record in records(folder) if record["type"] == "stop"]
    assert stop == [{"type": "stop", "reason": f"interrupted by {number.name}"}]
    assert entered(folder) == [("INCOMPLETE", f"interrupted by {number.name}")]
    reported = modeltest(folder, "report", "last")
    assert reported.code == 4
    assert f"; interrupted by {number.name}" in reported.out.splitlines()[0]
    resumed = run_in_bash(printed_command(err), checkout, Path("/"))
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[0] == "VALID"
    assert entered(folder) == [("VALID", "")]
    assert timeless(folder) == undisturbed_many


def entered(folder):
    """Validity and reasons of every line of the index."""
    with (folder / "outputs" / "index.csv").open(newline="", encoding="utf-8") as stream:
        return [(row["validity"], row["reasons"]) for row in csv.DictReader(stream, strict=True)]


def test_a_run_that_gives_up_says_how_to_continue(modeltest, tmp_path):
    task = write_task(tmp_path, "clips", NUM_CLIPS)
    first = min((tmp_path / "clips").iterdir())
    soundfile.write(first, np.zeros(31 * 16_000, np.float32), 16_000)
    done = modeltest(tmp_path, *eval_arguments(task, "--fail-on-error", "0", "--bs", "1"))
    assert done.code == 4, done.err
    assert "stopped after 1 failed samples" in done.out.splitlines()[0]
    assert "--resume" in printed_command(done.err)


def test_a_signal_while_the_model_loads(start, tmp_path):
    process = start(tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "cpu")
    end_s = time.monotonic() + 60
    while not segments(tmp_path):  # the log is opened just before the weights are loaded
        assert time.monotonic() < end_s
        time.sleep(0.002)
    begin_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - begin_s < GONE_S
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert "--resume" in printed_command(err)


def test_the_second_signal_ends_it_at_once(start, many, tmp_path):
    process = start(tmp_path, *eval_arguments(many))
    wait_for_samples(tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    begin_s = time.monotonic()
    assert process.wait(timeout=5) == 143
    assert time.monotonic() - begin_s < 1.0


def test_one_process_per_run_and_the_lock_dies_with_its_owner(
    start, modeltest, many, tmp_path, undisturbed_many
):
    process = start(tmp_path, *eval_arguments(many))
    wait_for_samples(tmp_path, 1)
    # Stopped, so that it certainly still holds the run when the other has started.
    process.send_signal(signal.SIGSTOP)
    taken_s = []
    for _ in range(3):  # the fastest, since other work may slow one down
        begin_s = time.monotonic()
        second = start(tmp_path, *eval_arguments(many, "--resume", "last"))
        _, err = second.communicate(timeout=30)
        taken_s.append(time.monotonic() - begin_s)
        assert second.returncode == 2
    assert min(taken_s) < 1.0
    [told] = [line for line in err.splitlines() if line.startswith("modeltest: ")]
    assert f"process {process.pid} on {os.uname().nodename}" in told
    assert modeltest(tmp_path, "list", "runs").out.splitlines()[2].split()[3] == "running"
    process.kill()
    process.wait()
    resumed = modeltest(tmp_path, *eval_arguments(many, "--resume", "last"))
    assert resumed.code == 0, resumed.err
    assert timeless(tmp_path) == undisturbed_many


def test_the_lock_itself_is_refused_within_a_second(checkout, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from modeltest.runlog.lock import locked\n"
        "from modeltest.errors import DataError\n"
        "with locked(Path(sys.argv[1])):\n"
        "    try:\n"
        "        begin_s = time.monotonic()\n"
        "        with locked(Path(sys.argv[1])): pass\n"
        "    except DataError as error: print(time.monotonic() - begin_s)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    assert float(done.stdout) < 1.0


@pytest.mark.parametrize(
    ("option", "difference"),
    [
        (("--seed", "7"), "seed was 0, is 7"),
        (("--dtype", "bf16"), "data_type was fp32, is bf16"),
        (("--set", "task.max_new_tokens=9"), "max_new_tokens was 65, is 9"),
    ],
)
def test_another_run_is_not_resumed(modeltest, copied, few, option, difference):
    done = modeltest(copied, *eval_arguments(few, "--resume", "last", *option))
    assert done.code == 2
    assert difference in done.err
    assert "Traceback" not in done.err


def test_a_finished_run_is_found_by_id_path_and_last_and_stays_as_it_is(modeltest, copied, few):
    before = reports(copied)
    run = run_folder(copied)
    for name in (run.name, str(run.relative_to(copied)), "last"):
        done = modeltest(copied, "report", name)
        assert done.code == 0, done.err
    assert modeltest(copied, *eval_arguments(few, "--resume", run.name)).code == 0
    assert reports(copied) == before


@pytest.mark.parametrize("command", ["report", "eval"])
def test_an_unknown_run_is_one_line(modeltest, copied, few, command):
    arguments = {"report": ("report", "123456-abcdef")}.get(
        command, eval_arguments(few, "--resume", "nosuchrun")
    )
    done = modeltest(copied, *arguments)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "no run" in done.err


def test_reports_are_rebuilt_byte_by_byte(modeltest, copied):
    before = reports(copied)
    index = {"index.csv": before["index.csv"]}
    for name in before.keys() - index.keys():
        (copied / "outputs" / name).unlink()
    done = modeltest(copied, "report", "last", LC_ALL="C", TZ="Pacific/Kiritimati", PYTHONUTF8="0")
    assert done.code == 0, done.err
    assert reports(copied) == before
    moved = copied / "elsewhere"
    moved.mkdir()
    (copied / "outputs").rename(moved / "outputs")
    for kind in ("results", "debug"):
        [folder] = moved.glob(f"outputs/*/modeltest/*/*_result/{kind}")
        shutil.rmtree(folder)
    done = modeltest(Path("/"), "report", str(run_folder(moved)), LC_ALL="POSIX", TZ="UTC")
    assert done.code == 0, done.err
    assert reports(moved) == before


def test_the_order_of_the_segments_does_not_matter(modeltest, copied):
    before = reports(copied)
    [whole] = segments(copied)
    head, *lines = whole.read_bytes().splitlines(keepends=True)
    whole.unlink()
    for number, part in enumerate((lines[9:], lines[4:9], lines[:4])):
        (whole.parent / f"z{9 - number}-0-1.jsonl").write_bytes(b"".join([head, *part]))
    assert modeltest(copied, "report", "last").code == 0
    assert reports(copied) == before


def test_a_torn_tail_is_harmless(modeltest, copied, few, finished_run):
    [segment] = segments(copied)
    lines = segment.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if b'"type":"sample"' in line)
    segment.write_bytes(b"".join(lines[:last]) + lines[last][: len(lines[last]) // 2])
    done = modeltest(copied, "report", "last")
    assert (done.code, done.out.splitlines()[0]) == (
        4, f"INCOMPLETE: {NUM_CLIPS - 1} of {NUM_CLIPS} samples evaluated",
    )  # fmt: skip
    done = modeltest(copied, *eval_arguments(few, "--resume", "last"))
    assert done.code == 0, done.err
    assert timeless(copied) == timeless(finished_run.folder)


def test_inner_damage_is_invalid_until_it_is_repaired(modeltest, copied, few, finished_run):
    [segment] = segments(copied)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    done = modeltest(copied, "report", "last")
    assert done.code == 3
    assert done.out.startswith("INVALID: ")
    assert "damaged inside; see modeltest report --repair" in done.out.splitlines()[0]
    refused = modeltest(copied, *eval_arguments(few, "--resume", "last"))
    assert refused.code == 2
    [line] = [line for line in refused.err.splitlines() if line.startswith("modeltest: ")]
    command = shlex.join(["modeltest", "report", str(run_folder(copied).resolve()), "--repair"])
    assert line.endswith(f"is damaged inside; rescue its whole records first: {command}")
    assert segments(copied) == [segment], "nothing was begun"
    repaired = modeltest(copied, "report", "last", "--repair")
    assert repaired.code == 4
    assert re.search(r"rescued, 1 lines lost", repaired.err)
    assert f"INCOMPLETE: {NUM_CLIPS - 1} of {NUM_CLIPS} samples evaluated" in repaired.out
    assert segment.with_name(f"{segment.name}.damaged").read_bytes() == content
    resumed = modeltest(copied, *eval_arguments(few, "--resume", "last"))
    assert resumed.code == 0, resumed.out
    assert timeless(copied) == timeless(finished_run.folder)


def test_an_output_folder_that_cannot_be_written_is_refused_first(modeltest, tmp_path):
    (tmp_path / "outputs").write_text("a file in its place")
    begin_s = time.monotonic()
    done = modeltest(tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny")
    taken_s = time.monotonic() - begin_s
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "outputs" in done.err
    assert taken_s < 2.0 + interpreter_start_s()


def interpreter_start_s() -> float:
    begin_s = time.monotonic()
    subprocess.run([sys.executable, "-c", ""], check=True)
    return time.monotonic() - begin_s
