"""What dealing to workers costs the driver: processor milliseconds per batch.

    python benchmarks/bench_driver.py [--ray ADDRESS] [--clips N] [--batch-sizes 1,8] [--dp N]

Evaluates N short clips by the model `null`, which answers at once, with N workers on this host or
on a Ray cluster, and prints the processor time that this process used meanwhile (user and system,
all threads, `getrusage`) and the wall time, per batch. Without devices to wait for, the wall time
says how many batches a second the driver and these workers manage together on this machine; it
holds the workers' start.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile

from modeltest.cli.main import main as modeltest
from modeltest.runner.parallel.coordinator import Coordinator

LABELS = ("cough", "laughter", "sigh", "sneeze", "sniff", "throatclearing")


def make_task(folder: Path, num_clips: int) -> Path:
    """A task of clips of a tenth of a second and longer, no two alike."""
    clips = folder / "clips"
    clips.mkdir()
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 1600 + num_clips)
    for index in range(num_clips):
        name = f"f{index:06d}_0_{LABELS[index % len(LABELS)]}.wav"
        soundfile.write(clips / name, noise[: 1600 + index], 16_000)
    task = folder / "noise.yaml"
    task.write_text(
        f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: {num_clips}\n",
        encoding="utf-8",
    )
    return task


def processor_s() -> float:
    """Of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(arguments: list[str]) -> tuple[float, float]:
    """Processor and wall seconds of the coordinator in one evaluation.

    Raises:
        SystemExit: The evaluation failed.
    """
    found: list[tuple[float, float]] = []
    run = Coordinator.run

    def timed(self: Coordinator) -> int:
        start = processor_s(), time.perf_counter()
        peak = run(self)
        found.append((processor_s() - start[0], time.perf_counter() - start[1]))
        return peak

    said = io.StringIO()
    with (
        patch.object(Coordinator, "run", timed),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        modeltest(arguments)
    if not found:
        raise SystemExit(said.getvalue())
    return found[0]


def main() -> None:
    """Prints a row per batch size."""
    parser = argparse.ArgumentParser(description="Driver's cost per batch.")
    parser.add_argument("--ray", metavar="ADDRESS")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--batch-sizes", default="1,8")
    parser.add_argument("--dp", type=int, default=2)
    options = parser.parse_args()
    print(f"{'clips a batch':>14}{'batches':>9}{'processor ms':>14}{'wall ms':>9}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = make_task(folder, options.clips)
        fixed = ["eval", str(task), "null", "--device", "cpu", "--output-dir", str(folder / "out")]
        fixed += ["--dp", str(options.dp), *([f"--ray={options.ray}"] if options.ray else [])]
        for size in map(int, options.batch_sizes.split(",")):
            used_s, wall_s = measure([*fixed, "--bs", str(size)])
            count = -(-options.clips // size)
            print(
                f"{size:>14}{count:>9}{1000 * used_s / count:>14.2f}{1000 * wall_s / count:>9.2f}"
            )


if __name__ == "__main__":
    main()
