"""`kill -9` of a whole evaluation of the embedded model at random times, resumed each time.

    python tests/gates/kills.py [--times N] [--seconds S] [--seed S] [--processes P]

Chains of kills and resumes, one in each process: each start is killed at a moment drawn by
the seed between its start and the time that an undisturbed run takes; a run that ends before
its kill is compared and a new one is begun; the last one is resumed to its end. Every finished
run must be VALID, hold each of the 120 samples once, and have the undisturbed run's reports,
times and run id aside. Records that were in the log when a kill came must be in it at the end.
The runs are forks of a process that has loaded the libraries; `--cold` starts whole new
processes instead. One line of counts; exit status 1 after a violation, with fewer kills, or when
no record was in a log before a kill.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.checkout import add_source, workspace
from support.commands import each_in_processes, run_cold, run_warm, start, warm_up_with
from support.counts import add_at_least, enough, is_blind, short_of
from support.runs import comparable, differences, log_lines, run_folder, sample_counts

EVAL = ["eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "cpu"]
NUM_SAMPLES = 120


@dataclass
class Counts:
    """What one chain came to."""

    num_kills: int = 0
    num_acknowledged: int = 0
    num_finished: int = 0
    problems: tuple[str, ...] = ()


class Gate:
    """The undisturbed run, and the time it takes."""

    def __init__(self, root: Path, is_cold: bool) -> None:
        self.root, self.is_cold = root, is_cold
        run = run_cold if is_cold else warm_up_with
        done = run(EVAL, root / "reference")
        if done.code or done.verdict != "VALID":
            raise RuntimeError(f"the undisturbed run ended {done.code}: {done.out}{done.err}")
        self.reference = comparable(root / "reference")
        begin_s = time.monotonic()
        (run_cold if is_cold else run_warm)(EVAL, root / "timed")
        self.whole_s = time.monotonic() - begin_s


class Chain:
    """One run after the other, killed and resumed."""

    def __init__(self, gate: Gate, name: str) -> None:
        self.gate = gate
        self.name = name
        self.number = 1
        self.acknowledged: set[bytes] = set()

    @property
    def folder(self) -> Path:
        return self.gate.root / f"run-{self.name}-{self.number}"

    def killed_after(self, seconds: float) -> bool:
        """Starts or resumes the run and kills it; False when it ended before."""
        if not (self._killed_cold if self.gate.is_cold else self._killed_warm)(seconds):
            return False
        run = run_folder(self.folder)
        if run:
            # The last line may be torn; everything before it was acknowledged.
            for segment in run.glob("log/*.jsonl"):
                self.acknowledged.update(segment.read_bytes().split(b"\n")[:-1])
        return True

    def _killed_cold(self, seconds: float) -> bool:
        self.folder.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "modeltest", *self._command()],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True

    def _killed_warm(self, seconds: float) -> bool:
        return start(self._command(), self.folder).wait(seconds).code == -signal.SIGKILL

    def finish(self) -> Iterator[str]:
        """Resumes the run to its end and judges it; the next one is begun after that."""
        run_it = run_cold if self.gate.is_cold else run_warm
        done = run_it(self._command(), self.folder)
        run = run_folder(self.folder)
        if done.code or done.verdict != "VALID" or run is None:
            yield f"ended {done.code}, {done.verdict!r}: {done.err[-300:]}"
        else:
            counts = sample_counts(run)
            if len(counts) != NUM_SAMPLES or set(counts.values()) != {1}:
                yield f"{counts.total()} records of {len(counts)} samples, not {NUM_SAMPLES}"
            if lost := self.acknowledged - set(log_lines(run)):
                yield f"{len(lost)} acknowledged records lost"
            yield from differences(self.gate.reference, comparable(self.folder))
        shutil.rmtree(self.folder)
        self.number += 1
        self.acknowledged.clear()

    def _command(self) -> list[str]:
        return [*EVAL, "--resume", "last"] if run_folder(self.folder) else EVAL


def carry_out(gate: Gate, seed: int, end_s: float, share: tuple[int, int]) -> Counts:
    """One process's chain: so many kills, none begun after the end of the time."""
    number, times = share
    pick = random.Random(f"{seed}:{number}")
    chain, counts = Chain(gate, str(number)), Counts()
    moments: list[float] = []

    def judge() -> None:
        counts.num_acknowledged += len(chain.acknowledged)
        shown = ", ".join(f"{moment:.2f}" for moment in moments)
        where = f"chain {number} killed after {shown} s [seed {seed}]"
        counts.problems += tuple(f"{where}: {problem}" for problem in chain.finish())
        counts.num_finished += 1
        moments.clear()

    while counts.num_kills < times and time.monotonic() < end_s:
        moment = pick.uniform(0.0, gate.whole_s)
        if chain.killed_after(moment):
            counts.num_kills += 1
            moments.append(moment)
        else:
            judge()
    judge()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no kill after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="a new process for every run")
    add_at_least(parser)
    add_source(parser)
    options = parser.parse_args()
    with workspace(options.source) as root:
        return run(Gate(root, options.cold), options)


def run(gate: Gate, options: argparse.Namespace) -> int:
    begin_s = time.monotonic()
    end_s = begin_s + options.seconds
    work = functools.partial(carry_out, gate, options.seed, end_s)
    shares = [
        (number, len(range(number, options.times, options.processes)))
        for number in range(options.processes)
    ]
    found = list(each_in_processes(work, shares, end_s, options.processes))
    problems = [problem for counts in found for problem in counts.problems]
    for problem in problems:
        print(f"  VIOLATION {problem}", flush=True)
    num_kills = sum(counts.num_kills for counts in found)
    num_acknowledged = sum(counts.num_acknowledged for counts in found)
    print(
        f"kills: {num_kills} of {options.times} kills of {NUM_SAMPLES}-sample runs "
        f"({gate.whole_s:.1f} s each), {num_acknowledged} acknowledged "
        f"records watched, {sum(c.num_finished for c in found)} runs finished, "
        f"{len(problems)} violations, seed {options.seed}, {time.monotonic() - begin_s:.0f} s"
    )
    return int(
        bool(problems)
        | is_blind("kills", num_acknowledged)
        | short_of("kills", num_kills, enough(options.times, options), options)
    )


if __name__ == "__main__":
    sys.exit(main())
