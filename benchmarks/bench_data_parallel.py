"""How much faster `--dp 2` is than one process, one thread each, on the embedded model.

    python benchmarks/bench_data_parallel.py [--clips 1440] [--rounds 3] [--dp 2] [--target 1.7]

Whole `modeltest eval` commands on synthetic clips of VocalSound's lengths, batch size 8, on a
CPU with OMP_NUM_THREADS=1 for both. They take turns; the ratio is taken within each round, its
median counts. `eval_s` is what the reports show: from the first loaded model to the last reply,
waiting for the other workers' models included. `whole_s` is the command with start-up, data
check and reports. That the second model is loaded and warmed up costs seconds whatever the number
of clips, which weigh the less the more clips there are (VocalSound's test split has 3,591). Every
round's answers must be the same in both; exit status 1 when they are not, or when the ratio of
`eval_s` is below the target.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from support.clips import draw_lengths_s, make_clips
from support.task_files import write_task

ANSWERS = ("sample_id", "answer", "output", "error")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluation: its seconds, and the answers by sample."""

    eval_s: float
    whole_s: float
    answers: list[tuple[str, ...]]


def main() -> int:
    """Prints a row per round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=1440)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dp", type=int, default=2)
    parser.add_argument("--target", type=float, default=1.7)
    options = parser.parse_args()
    ratios, whole_ratios, num_other = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        lengths_s = draw_lengths_s(options.clips, 0)
        task = write_task(Path(folder), make_clips(lengths_s, 1))
        for number in range(options.rounds):
            sizes = (1, options.dp) if number % 2 == 0 else (options.dp, 1)
            found = {dp: evaluate(Path(folder, f"{number}-{dp}"), task, dp) for dp in sizes}
            one, many = found[1], found[options.dp]
            ratios.append(one.eval_s / many.eval_s)
            whole_ratios.append(one.whole_s / many.whole_s)
            num_other += one.answers != many.answers
            print(
                f"round {number}: eval_s {one.eval_s:.2f} → {many.eval_s:.2f} s, "
                f"{ratios[-1]:.2f} x; whole {one.whole_s:.1f} → {many.whole_s:.1f} s",
                flush=True,
            )
    median = statistics.median(ratios)
    print(
        f"dp {options.dp} against 1, {options.clips} clips: {median:.2f} x (target "
        f"{options.target:g}), whole command {statistics.median(whole_ratios):.2f} x, "
        f"{num_other} rounds with other answers"
    )
    return int(median < options.target or num_other > 0)


def evaluate(folder: Path, task: Path, dp: int) -> Outcome:
    """One command in a process of its own."""
    folder.mkdir()
    command = ["eval", str(task), "qwen2_audio_tiny", "--device", "cpu", "--bs", "8"]
    begin_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "modeltest", *command, "--dp", str(dp)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    whole_s = time.perf_counter() - begin_s
    if done.returncode not in {0, 3}:  # 3: a working tree with local changes
        raise RuntimeError(done.stderr)
    [result] = folder.glob("outputs/**/*_result.csv")
    [eval_s] = [float(row["value"]) for row in rows(result) if row["metric"] == "eval_s"]
    [samples] = folder.glob("outputs/**/*_samples.csv")
    answers = [tuple(row[name] for name in ANSWERS) for row in rows(samples)]
    return Outcome(eval_s, whole_s, answers)


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    sys.exit(main())
