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
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
from support.clips import Waveform
from support.task_files import write_task

from modeltest.cli.main import main as modeltest
from modeltest.runner.parallel.coordinator import Coordinator


def short_clips(num_clips: int) -> Iterator[Waveform]:
    """Clips of a tenth of a second and longer, no two alike."""
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 1600 + num_clips).astype(np.float32)
    return (noise[: 1600 + index] for index in range(num_clips))


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
        task = write_task(folder, short_clips(options.clips))
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
