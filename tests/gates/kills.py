"""`kill -9` of a whole evaluation of the embedded model at random times, resumed each time.

    python tests/gates/kills.py [--times N] [--seconds S] [--seed S]

A chain of kills and resumes: each start is killed at a moment drawn by the seed between its
start and the time that an undisturbed run takes; a run that ends before its kill is compared
and a new one is begun; the last one is resumed to its end. Every finished run must be VALID,
hold each of the 120 samples once, and have the undisturbed run's reports, times and run id
aside. Records that were in the log when a kill came must be in it at the end. One line of
counts; exit status 1 after a violation.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.checkout import add_source, workspace
from support.commands import run_cold
from support.runs import comparable, differences, log_lines, run_folder, sample_counts

EVAL = ["eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "cpu"]
NUM_SAMPLES = 120


class Chain:
    """One run after the other, killed and resumed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        os.environ.pop("OMP_NUM_THREADS", None)  # nothing forks here, and torch may use the cores
        begin_s = time.monotonic()
        done = run_cold(EVAL, root / "reference")
        self.whole_s = time.monotonic() - begin_s
        if done.code or done.verdict != "VALID":
            raise RuntimeError(f"the undisturbed run ended {done.code}: {done.out}{done.err}")
        self.reference = comparable(root / "reference")
        self.number = 1
        self.acknowledged: set[bytes] = set()

    @property
    def folder(self) -> Path:
        return self.root / f"run-{self.number}"

    def killed_after(self, seconds: float) -> bool:
        """Starts or resumes the run and kills it; False when it ended before."""
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
        run = run_folder(self.folder)
        if run:
            # The last line may be torn; everything before it was acknowledged.
            for segment in run.glob("log/*.jsonl"):
                self.acknowledged.update(segment.read_bytes().split(b"\n")[:-1])
        return True

    def finish(self) -> Iterator[str]:
        """Resumes the run to its end and judges it; the next one is begun after that."""
        done = run_cold(self._command(), self.folder)
        run = run_folder(self.folder)
        if done.code or done.verdict != "VALID" or run is None:
            yield f"ended {done.code}, {done.verdict!r}: {done.err[-300:]}"
        else:
            counts = sample_counts(run)
            if len(counts) != NUM_SAMPLES or set(counts.values()) != {1}:
                yield f"{counts.total()} records of {len(counts)} samples, not {NUM_SAMPLES}"
            if lost := self.acknowledged - set(log_lines(run)):
                yield f"{len(lost)} acknowledged records lost"
            yield from differences(self.reference, comparable(self.folder))
        self.number += 1
        self.acknowledged.clear()

    def _command(self) -> list[str]:
        return [*EVAL, "--resume", "last"] if run_folder(self.folder) else EVAL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no kill after so long")
    parser.add_argument("--seed", type=int, default=0)
    add_source(parser)
    options = parser.parse_args()
    with workspace(options.source) as root:
        return run(Chain(root), options)


def run(chain: Chain, options: argparse.Namespace) -> int:
    begin_s = time.monotonic()
    pick = random.Random(options.seed)
    num_kills = num_violations = num_acknowledged = 0
    moments: list[float] = []

    def judge() -> None:
        nonlocal num_violations, num_acknowledged
        num_acknowledged += len(chain.acknowledged)
        for problem in chain.finish():
            num_violations += 1
            shown = ", ".join(f"{moment:.2f}" for moment in moments)
            print(
                f"  VIOLATION killed after {shown} s [seed {options.seed}]: {problem}", flush=True
            )
        moments.clear()

    while num_kills < options.times and time.monotonic() - begin_s < options.seconds:
        moment = pick.uniform(0.0, chain.whole_s)
        if chain.killed_after(moment):
            num_kills += 1
            moments.append(moment)
        else:
            judge()
    judge()
    print(
        f"kills: {num_kills} of {options.times} kills of {NUM_SAMPLES}-sample runs "
        f"({chain.whole_s:.1f} s each), {num_acknowledged} acknowledged records watched, "
        f"{chain.number - 1} runs finished, {num_violations} violations, seed {options.seed}, "
        f"{time.monotonic() - begin_s:.0f} s"
    )
    return int(num_violations > 0 or num_kills == 0)


if __name__ == "__main__":
    sys.exit(main())
