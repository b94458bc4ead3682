"""`kill -9` of one of two workers at random times of `--dp 2` on the embedded model.

    python tests/gates/worker_kills.py [--times N] [--seconds S] [--seed S]

A moment between the start and the time of an undisturbed run is drawn, and a worker; a run
without a worker at that moment does not count. Every run must end by itself, VALID, with each
of the 120 samples once in its reports and the undisturbed run's answers. One line of counts;
exit status 1 after a violation, or with fewer kills.
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

from support.checkout import add_source, workspace
from support.commands import HANG_S, run_cold
from support.counts import add_at_least, enough, short_of
from support.runs import report_bytes

EVAL = ["eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "cpu", "--bs", "4", "--dp", "2"]
NUM_SAMPLES = 120


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
    begin_s = time.monotonic()
    done = run_cold(EVAL, root / "reference")
    whole_s = time.monotonic() - begin_s
    if done.code or done.verdict != "VALID":
        raise RuntimeError(f"the undisturbed run ended {done.code}: {done.out}{done.err}")
    wanted = answers(root / "reference")
    pick = random.Random(options.seed)
    num_kills = num_runs = num_violations = 0
    while num_kills < options.times and time.monotonic() - begin_s < options.seconds:
        moment_s, number = pick.uniform(0, whole_s), num_runs
        folder = root / f"run-{number}"
        killed, problems = one(folder, moment_s, pick.random(), wanted)
        num_kills, num_runs = num_kills + killed, num_runs + 1
        for problem in problems:
            num_violations += 1
            print(f"  VIOLATION run {number} at {moment_s:.2f} s: {problem}", flush=True)
        shutil.rmtree(folder)
    print(
        f"worker_kills: {num_kills} of {options.times} kills in {num_runs} runs of {NUM_SAMPLES} "
        f"samples by two workers ({whole_s:.1f} s each), {num_violations} violations, "
        f"seed {options.seed}, {time.monotonic() - begin_s:.0f} s"
    )
    least = enough(options.times, options)
    return int(bool(num_violations) | short_of("worker_kills", num_kills, least, options))


def one(
    folder: Path, moment_s: float, which: float, wanted: list[tuple[str, ...]]
) -> tuple[bool, list[str]]:
    """One run, and whether a worker of it was killed; what is wrong with it."""
    folder.mkdir()
    with open(folder / "err", "wb") as err, open(folder / "out", "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "modeltest", *EVAL], cwd=folder, stdout=out, stderr=err
        )
    time.sleep(moment_s)
    workers = sorted(workers_of(process.pid))
    for pid in workers[int(which * len(workers)) :][:1]:
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(pid, signal.SIGKILL)
    try:
        code = process.wait(2 * HANG_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return bool(workers), ["it did not end"]
    verdict = (folder / "out").read_text("utf-8").partition("\n")[0]
    if code or not verdict.startswith("VALID"):
        told = (folder / "err").read_text("utf-8", "replace")[-300:]
        return bool(workers), [f"ended {code}, {verdict!r}: {told}"]
    found = answers(folder)
    if len({row[0] for row in found}) != NUM_SAMPLES or len(found) != NUM_SAMPLES:
        return bool(workers), [f"{len(found)} rows, not {NUM_SAMPLES}"]
    return bool(workers), [] if found == wanted else ["other answers than the undisturbed run's"]


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
