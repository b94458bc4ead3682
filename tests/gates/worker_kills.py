"""`kill -9` of one of two workers at random times of `--dp 2`, the model `null` on 400 clips.

    python tests/gates/worker_kills.py [--times N] [--seconds S] [--seed S]

A moment between the first worker's start and the last one's end in an undisturbed run is drawn,
and a worker; a worker that has done its last batch by then does not count, only one whose end the
run tells of.
Every run must end by itself, VALID, with each of the samples once in its reports and the
undisturbed run's answers. One line of counts; exit status 1 after a violation, or with fewer
kills.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.checkout import add_source, workspace, write_clips
from support.commands import HANG_S, null_eval, run_cold
from support.counts import add_at_least, enough, short_of
from support.runs import report_bytes, run_folder

NUM_SAMPLES = 400


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=300.0, help="begin no run after so long")
    parser.add_argument("--seed", type=int, default=0)
    add_at_least(parser)
    add_source(parser)
    options = parser.parse_args()
    with workspace(options.source) as root:
        return run(root, options)


def run(root: Path, options: argparse.Namespace) -> int:
    command = [*null_eval(write_clips(root / "data", NUM_SAMPLES)), "--dp", "2"]
    done = run_cold(command, root / "reference")
    begin_s = time.monotonic()
    if done.code or done.verdict != "VALID":
        raise RuntimeError(f"the undisturbed run ended {done.code}: {done.out}{done.err}")
    wanted = answers(root / "reference")
    _, problems, worked_s = one(command, root / "timed", None, 0.0, wanted)
    if problems:
        raise RuntimeError(f"the second undisturbed run: {problems}")
    pick = random.Random(options.seed)
    num_kills = num_runs = num_violations = 0
    while num_kills < options.times and time.monotonic() - begin_s < options.seconds:
        moment_s, number = pick.uniform(0, worked_s), num_runs
        folder = root / f"run-{number}"
        killed, problems, _ = one(command, folder, moment_s, pick.random(), wanted)
        num_kills, num_runs = num_kills + killed, num_runs + 1
        for problem in problems:
            num_violations += 1
            print(f"  VIOLATION run {number} at {moment_s:.2f} s: {problem}", flush=True)
        shutil.rmtree(folder)
    print(
        f"worker_kills: {num_kills} of {options.times} kills in {num_runs} runs of {NUM_SAMPLES} "
        f"samples by two workers (at work for {worked_s:.1f} s), {num_violations} violations, "
        f"seed {options.seed}, {time.monotonic() - begin_s:.0f} s"
    )
    least = enough(options.times, options)
    return int(bool(num_violations) | short_of("worker_kills", num_kills, least, options))


def one(
    command: list[str],
    folder: Path,
    moment_s: float | None,
    which: float,
    wanted: list[tuple[str, ...]],
) -> tuple[bool, list[str], float]:
    """One run: whether it lost a worker, what is wrong; undisturbed, the workers' seconds."""
    folder.mkdir()
    with open(folder / "err", "wb") as err, open(folder / "out", "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "modeltest", *command], cwd=folder, stdout=out, stderr=err
        )
    while not any(workers_of(process.pid)) and process.poll() is None:
        time.sleep(0.005)
    begin_s = time.monotonic()
    time.sleep(moment_s or 0.0)
    workers = [] if moment_s is None else sorted(workers_of(process.pid))
    for pid in workers[int(which * len(workers)) :][:1]:
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(pid, signal.SIGKILL)
    while moment_s is None and any(workers_of(process.pid)):
        time.sleep(0.005)
        if time.monotonic() > begin_s + HANG_S:
            break
    worked_s = time.monotonic() - begin_s
    try:
        code = process.wait(2 * HANG_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return has_lost_a_worker(folder), ["it did not end"], 0.0
    killed = has_lost_a_worker(folder)
    verdict = (folder / "out").read_text("utf-8").partition("\n")[0]
    if code or not verdict.startswith("VALID"):
        told = (folder / "err").read_text("utf-8", "replace")[-300:]
        return killed, [f"ended {code}, {verdict!r}: {told}"], worked_s
    found = answers(folder)
    if len({row[0] for row in found}) != NUM_SAMPLES or len(found) != NUM_SAMPLES:
        return killed, [f"{len(found)} rows, not {NUM_SAMPLES}"], worked_s
    same = found == wanted
    return killed, [] if same else ["other answers than the undisturbed run's"], worked_s


def has_lost_a_worker(folder: Path) -> bool:
    """Whether the run met a worker's end by SIGKILL while it still had work for it."""
    run = run_folder(folder)
    said = f"process ended by signal {signal.SIGKILL:d}"
    return run is not None and said in (run / "run.log").read_text("utf-8")


def workers_of(pid: int) -> Iterator[int]:
    """Processes that a command started to work for it."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"worker_child" in (path / "cmdline").read_bytes():
                yield int(path.name)
        except OSError:  # it has ended
            continue


def answers(folder: Path) -> list[tuple[str, ...]]:
    """The rows of the samples' CSV without times."""
    text = report_bytes(folder)["samples"].decode("utf-8")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [tuple(cell for name, cell in row.items() if name != "e2e_s") for row in rows]


if __name__ == "__main__":
    sys.exit(main())
