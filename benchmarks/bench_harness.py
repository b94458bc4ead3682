"""What an evaluation costs beside the model: time per sample, memory, and how both grow.

    python benchmarks/bench_harness.py [--samples 1000,10000,100000] [--rounds 3] [--folder DIR]

Whole evaluations with the null backend, as users run them: data check, decoding of real clips
(WAV, 0.1 s, every one with other bytes), generating, scoring, log and reports. Each size is
evaluated in a process of its own. What a run costs whatever its size (imports, decoder
processes, manifest, a row of the reports, resampling for every interval and test) is that of an
evaluation of 240 clips, the median of three in the same process after a first one; per sample is
what comes on top. With fewer clips there are too few speakers for some of the intervals.

    per sample = (seconds of N clips - seconds of 240 clips) / (N - 240)

`total` and the phases are by the clock on the wall. `own` is the processor time of modeltest's
own process, without its decoder processes. `audio` is what the clips themselves cost, timed in
one process without the harness, before each evaluation: reading, digest and header for the
check; reading, digest and samples for the evaluation. The harness's share is what is left:

    overhead = max(total - audio, own)

A decoder process works while modeltest checks, asks, scores and logs. Then `total - audio`
takes off time in which modeltest was not waiting for audio at all; `own` is the lower bound
that no overlap can hide. The targets are at most 0.5 ms overhead per sample, the total the same
within 10 % at every size, and at most 64 MiB more memory at the largest size than at the
smallest (VmHWM of the process).

Sizes take turns, the median of the rounds counts. Exit status 1 when a target is missed. Other
load on the machine makes the times longer; the memory does not depend on it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

MAX_OVERHEAD_MS = 0.5
MAX_UNEVENNESS = 0.10
MAX_GROWTH_MIB = 64.0

NUM_FEW = 240
NUM_FIXED = 3
NUM_DECODED = 1000
RATE_HZ = 16_000
LABELS = ("cough", "laughter", "sigh", "sneeze", "sniff", "throatclearing")
# Of each phase: the module, the function in it that does it.
PHASES = {
    "check": ("modeltest.cli.evaluate_plan", "check_data"),
    "evaluate": ("modeltest.cli.evaluate_run", "evaluate"),
    "reports": ("modeltest.cli.outcome", "write_outcome"),
}


def main() -> int:
    """Prints a line per size and one per target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", default="1000,10000,100000", metavar="N,…")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--one", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return 0
    sizes = sorted(int(text) for text in options.samples.split(","))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        few = make_task(folder, NUM_FEW)
        heard = make_task(folder, NUM_DECODED, "decoded").with_suffix("")
        tasks = {size: make_task(folder, size) for size in sizes}
        found: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        for number in range(options.rounds):
            for size in sizes:
                audio_ms = time_decoding(heard)
                row = in_new_process(few, tasks[size])
                found[size].append({**row, "audio": audio_ms, "overhead": overhead(row, audio_ms)})
                print(f"round {number + 1}, {size} samples: done", file=sys.stderr)
    return report({size: middle(rows) for size, rows in found.items()})


def overhead(row: dict[str, float], audio_ms: float) -> float:
    """The harness's share of one run's milliseconds per sample."""
    return max(row["total"] - audio_ms, row["own"])


def report(figures: dict[int, dict[str, float]]) -> int:
    """Prints the figures beside the targets; returns the exit status."""
    columns = ("total", *PHASES, "audio", "own", "overhead")
    print(f"{'samples':>8}{''.join(f'{name:>9}' for name in columns)}   ms per sample", end="")
    print(f"{'fixed':>9} s{'peak':>9} MiB")
    for size, row in figures.items():
        print(f"{size:8d}{''.join(f'{row[name]:9.3f}' for name in columns)}", end="")
        print(f"{row['fixed_s']:25.2f} s{row['peak_mib']:9.1f} MiB")
    worst_ms = max(row["overhead"] for row in figures.values())
    totals = [row["total"] for row in figures.values()]
    unevenness = max(totals) / min(totals) - 1
    peaks = [row["peak_mib"] for row in figures.values()]
    checks = (
        ("overhead per sample, worst size", worst_ms, MAX_OVERHEAD_MS, "ms"),
        ("total per sample, largest / smallest - 1", unevenness, MAX_UNEVENNESS, ""),
        ("memory, largest - smallest size", peaks[-1] - peaks[0], MAX_GROWTH_MIB, "MiB"),
    )
    missed = 0
    for name, value, target, unit in checks:
        verdict = "ok" if value <= target else "MISSED"
        missed += value > target
        print(f"{name}: {value:.3f} {unit} (target {target:g} {unit}) {verdict}")
    return int(missed > 0)


def measure(few: Path, task: Path) -> dict[str, float]:
    """One size in this process: milliseconds per sample, seconds of a small run, peak memory."""
    seconds: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        for phase in PHASES:
            stack.enter_context(timed(phase, seconds))
        evaluate(few)  # imports
        # The collector's one look through all libraries would fall into any of the others.
        gc.collect()
        gc.freeze()
        fixed_s = middle([{**evaluate(few), **seconds} for _ in range(NUM_FIXED)])
        all_s = {**evaluate(task), **seconds}
    num_more = num_clips(task) - NUM_FEW
    row = {name: (all_s[name] - fixed_s[name]) / num_more * 1e3 for name in all_s}
    return {**row, "fixed_s": fixed_s["total"], "peak_mib": peak_bytes() / 2**20}


def evaluate(task: Path) -> dict[str, float]:
    """`modeltest eval TASK null` in this process; its seconds, by the clock and of its own work."""
    from modeltest.cli.main import main as modeltest

    command = ["eval", str(task), "null", "--device", "cpu", "--output-dir", str(task.parent)]
    shown = io.StringIO()
    start_s, start_own_s = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        code = modeltest(command)
    seconds = {"total": time.perf_counter() - start_s, "own": time.process_time() - start_own_s}
    if code not in {0, 3}:  # 3: modeltest's own source has local changes
        raise SystemExit(f"modeltest {' '.join(command)} ended {code}:\n{shown.getvalue()}")
    return seconds


@contextlib.contextmanager
def timed(phase: str, seconds: dict[str, float]) -> Iterator[None]:
    """Notes in `seconds` how long a phase of an evaluation takes, while the context lasts."""
    import importlib

    module, name = PHASES[phase]
    original: Callable[..., Any] = getattr(importlib.import_module(module), name)

    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        start_s = time.perf_counter()
        try:
            return original(*arguments, **keywords)
        finally:
            seconds[phase] = time.perf_counter() - start_s

    with mock.patch(f"{module}.{name}", wrapper):
        yield


def peak_bytes() -> int:
    """Peak resident set of this process."""
    from modeltest.devices.cpu import CpuDevice

    return CpuDevice().peak_memory_bytes()


def in_new_process(few: Path, task: Path) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", str(few), str(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def time_decoding(clips: Path) -> float:
    """Milliseconds to inspect and to decode one clip, without the harness."""
    from modeltest.audio.decode import decode, inspect
    from modeltest.records import AudioSource

    sources = [AudioSource(path.name, str(path)) for path in sorted(clips.iterdir())]
    rounds = []
    for _ in range(4):  # the first one warms up
        start_s = time.perf_counter()
        for source in sources:
            inspect(source)
            decode(source, RATE_HZ)
        rounds.append((time.perf_counter() - start_s) / len(sources) * 1e3)
    return statistics.median(rounds[1:])


def make_task(folder: Path, count: int, name: str = "clips") -> Path:
    """A task file and, beside it, as many clips that differ in their last bytes."""
    clips = folder / f"{name}_{count}"
    clips.mkdir()
    num_bytes = 2 * RATE_HZ // 10
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + num_bytes, b"WAVE", b"fmt ", 16, 1, 1,
        RATE_HZ, 2 * RATE_HZ, 2, 16, b"data", num_bytes,
    )  # fmt: skip
    body = header + bytes(num_bytes - 8)
    for index in range(count):
        clip = f"{'fm'[index % 2]}{index // 6:06d}_0_{LABELS[index % 6]}.wav"
        (clips / clip).write_bytes(body + struct.pack("<Q", index))
    task = folder / f"{clips.name}.yaml"
    task.write_text(
        f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: {count}\n"
    )
    return task


def num_clips(task: Path) -> int:
    """How many clips a task file's folder holds."""
    return sum(1 for _ in task.with_suffix("").iterdir())


def middle(rows: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


if __name__ == "__main__":
    raise SystemExit(main())
