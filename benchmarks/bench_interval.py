"""How often perf's 95 % intervals hold: the same sweep again and again, over half an hour.

    python benchmarks/bench_interval.py [MODEL] [--bs 1,2,4,8,16] [--min-seconds 10]
        [--repeats 10] [--minutes 30] [--write docs/measurements/interval.md] [--output-dir DIR]
        [-- OPTION of modeltest perf …]

Runs `modeltest perf MODEL --bs …` as processes of their own that start evenly spread over
--minutes; a sweep that takes longer than its share is followed at once by the next. For each
point the pooled median is that of the rounds of all sweeps, and the interval of each sweep holds
it or does not. A sweep's own rounds are in the pool, too, so this is a little kinder than a truth
from elsewhere would be.

The target is 9 of 10 intervals at every point. Sweeps that end INVALID (exit code 3), for other
load on the machine say, count like the others; how many were VALID is printed, why rows were not,
and how much load there was. Exit code 1 when a point misses the target or a sweep was lost.
"""

from __future__ import annotations

import argparse
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeltest.errors import EXIT_INVALID, EXIT_OK
from modeltest.reports.performance.summary import Row, SweepSummary, summarise_sweep
from modeltest.runlog.sweep_log import SweepContent, read_sweep

TARGET_SHARE = 0.9
MOST_REASONS = 5
_PACKAGES = ("torch", "torch_npu", "transformers", "numpy")
_HEADER = (
    "batch size", "mode", "pooled median tokens/s", "medians of the sweeps", "interval, ± %",
    "intervals that hold it", "valid rows",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sweep:
    """One finished sweep: what is on the disk, and what its reports say."""

    content: SweepContent
    summary: SweepSummary


@dataclass(frozen=True, slots=True)
class Coverage:
    """One point over all sweeps; rates in output tokens per second.

    Attributes:
        batch_size: Of the point.
        mode: Of the point.
        pooled: Median of the rounds of all sweeps.
        medians: Of each sweep that measured the point.
        half_widths: Half of each interval's width, as a share of its sweep's median.
        num_holding: Intervals that hold `pooled`.
        num_intervals: Sweeps that gave an interval.
        num_valid: Sweeps in which the row was valid.
    """

    batch_size: int
    mode: str
    pooled: float
    medians: tuple[float, ...]
    half_widths: tuple[float, ...]
    num_holding: int
    num_intervals: int
    num_valid: int

    @property
    def met(self) -> bool:
        """Whether enough intervals hold the pooled median."""
        return 0 < TARGET_SHARE * self.num_intervals <= self.num_holding


def main() -> int:
    """Runs the sweeps, prints and writes what their intervals hold."""
    options, passed_on = _options()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.output_dir or Path(scratch)
        command = ["perf", options.model, "--bs", options.bs, *passed_on]
        command += ["--min-seconds", f"{options.min_seconds:g}"]
        sweeps = run_sweeps(command, folder, options.repeats, 60 * options.minutes)
        if not sweeps:
            print("no sweep came to an end", file=sys.stderr)
            return 1
        points = coverage([sweep.summary for sweep in sweeps])
        text = page(sweeps, points, options)
    print(text)
    if options.write is not None:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(text, encoding="utf-8")
    whole = len(sweeps) == options.repeats
    return 0 if whole and points and all(point.met for point in points) else 1


def run_sweeps(command: Sequence[str], folder: Path, repeats: int, spread_s: float) -> list[Sweep]:
    """The sweeps that came to an end, valid or not, in the order of measuring."""
    sweeps = []
    begin_s = time.monotonic()
    for number in range(repeats):
        start_s = spread_s * number / max(1, repeats - 1)
        time.sleep(max(0.0, begin_s + start_s - time.monotonic()))
        print(f"sweep {number + 1} of {repeats}", file=sys.stderr, flush=True)
        output_dir = folder / f"sweep_{number + 1:02d}"
        done = subprocess.run(
            [sys.executable, "-m", "modeltest", *command, "--output-dir", str(output_dir)],
            stdout=subprocess.PIPE,
            check=False,
        )
        found = sorted(output_dir.glob("*/modeltest/*/performance_result/*/manifest.json"))
        if done.returncode not in (EXIT_OK, EXIT_INVALID) or not found:
            print(f"sweep {number + 1} ended with exit code {done.returncode}", file=sys.stderr)
            continue
        content = read_sweep(found[-1].parent)
        sweeps.append(Sweep(content, summarise_sweep(content)))
    return sweeps


def coverage(summaries: Sequence[SweepSummary]) -> list[Coverage]:
    """Every point that was measured, in the order of the reports."""
    rows: dict[tuple[int, str], list[Row]] = {}
    for summary in summaries:
        for row in summary.rows:
            if row.figures is not None:
                rows.setdefault((row.batch_size, row.mode), []).append(row)
    return [_point_coverage(members) for members in rows.values()]


def _point_coverage(rows: Sequence[Row]) -> Coverage:
    measured = [row.figures for row in rows if row.figures is not None]
    pooled = statistics.median(
        rate for figures in measured for block in figures.blocks for rate in block
    )
    intervals = [(f.output_tokens_per_s, *f.interval) for f in measured if f.interval is not None]
    return Coverage(
        batch_size=rows[0].batch_size,
        mode=rows[0].mode,
        pooled=pooled,
        medians=tuple(figures.output_tokens_per_s for figures in measured),
        half_widths=tuple((high - low) / 2 / middle for middle, low, high in intervals),
        num_holding=sum(low <= pooled <= high for _, low, high in intervals),
        num_intervals=len(intervals),
        num_valid=sum(row.valid for row in rows),
    )


def page(sweeps: Sequence[Sweep], points: Sequence[Coverage], options: argparse.Namespace) -> str:
    """The Markdown page: how it was measured, the table, what it comes to."""
    manifest = sweeps[0].content.manifest
    device, host, sweep = manifest["device"], manifest["host"], manifest["sweep"]
    versions = [f"modeltest {manifest['tool']['version']} ({_commit(manifest['tool'])})"]
    versions += [f"Python {manifest['python']}"]
    packages = manifest["packages"]
    versions += [f"{name} {packages[name]}" for name in _PACKAGES if packages.get(name)]
    words = [sweep.summary.verdict.validity for sweep in sweeps]
    lines = [
        "# How often the 95 % intervals of `modeltest perf` hold",
        "",
        f"- Command: `{shlex.join(['python', 'benchmarks/bench_interval.py', *sys.argv[1:]])}`",
        f"- Machine: {device['kind']} {device['name']}, {host['cores']} cores, "
        f"{'-'.join(host['system'].split('-')[:2])}",
        f"- Versions: {', '.join(versions)}",
        f"- Sweeps: {len(sweeps)} of {options.repeats} came to an end, started over "
        f"{options.minutes:g} min from {manifest['started']}; {sweep['num_passes']} passes, "
        f"at least {sweep['min_seconds']:g} s per point",
        f"- Verdicts: {', '.join(f'{words.count(w)} {w}' for w in dict.fromkeys(words))}",
        f"- Rows that are not valid: {_reasons([sweep.summary for sweep in sweeps])}",
        f"- Other load: {_loads([sweep.content for sweep in sweeps])}",
        "",
        f"| {' | '.join(_HEADER)} |",
        f"|{' --- |' * len(_HEADER)}",
        *(f"| {' | '.join(_cells(point, len(sweeps)))} |" for point in points),
        "",
        *_conclusion(points),
    ]
    return "\n".join(lines) + "\n"


def _cells(point: Coverage, num_sweeps: int) -> Iterator[str]:
    yield str(point.batch_size)
    yield point.mode
    yield f"{point.pooled:.4g}"
    yield f"{min(point.medians):.4g} – {max(point.medians):.4g}"
    yield f"{100 * statistics.median(point.half_widths):.2g}" if point.half_widths else "-"
    yield f"{point.num_holding} of {point.num_intervals}{'' if point.met else ' (below target)'}"
    yield f"{point.num_valid} of {num_sweeps}"


def _conclusion(points: Sequence[Coverage]) -> Iterator[str]:
    missed = sum(not point.met for point in points)
    holding = sum(point.num_holding for point in points)
    total = sum(point.num_intervals for point in points)
    yield (
        f"In all {holding} of {total} intervals hold the pooled median. The target, "
        f"{TARGET_SHARE:.0%} at each point, is met at {len(points) - missed} of {len(points)} "
        "points. The pool holds each sweep's own rounds, so the figures are a little kind."
    )
    if missed:
        yield ""
        yield (
            "An interval covers what varies between the passes of its own sweep. A change of the "
            "machine that lasts longer than a sweep (other users, heat, clock rates) it cannot "
            "see: where the medians of the sweeps lie further apart than the intervals are wide, "
            "that is what is missing."
        )


def _reasons(summaries: Sequence[SweepSummary]) -> str:
    """The most frequent reasons, with `…` for their figures; a row may have several."""
    rows = [row for summary in summaries for row in summary.rows]
    counts = Counter(
        re.sub(r"[-+]?\d[\d.,]*", "…", reason) for row in rows for reason in row.reasons
    )
    if not counts:
        return f"none of {len(rows)}"
    named = [f"{reason} ({count})" for reason, count in counts.most_common(MOST_REASONS)]
    return f"{sum(not row.valid for row in rows)} of {len(rows)}; {'; '.join(named)}"


def _loads(contents: Sequence[SweepContent]) -> str:
    """Mean load of other processes, sweep by sweep: lowest, median and highest."""
    means = []
    for content in contents:
        known = [r["other_load"] for r in content.rounds if r.get("other_load") is not None]
        if known:
            means.append(statistics.fmean(known))
    if not means:
        return "not known"
    low, middle, high = min(means), statistics.median(means), max(means)
    return f"{low:.0%} to {high:.0%} of the machine in the mean of a sweep, median {middle:.0%}"


def _commit(tool: dict[str, str | bool | None]) -> str:
    changed = ", with local changes" if tool["dirty"] else ""
    return f"{str(tool['commit'])[:12]}{changed}" if tool["commit"] else "no repository"


def _options() -> tuple[argparse.Namespace, list[str]]:
    """What this benchmark takes, and what goes on to `modeltest perf`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="qwen2_audio_tiny")
    parser.add_argument("--bs", default="1,2,4,8,16", help="batch sizes (default: %(default)s)")
    parser.add_argument(
        "--min-seconds", type=float, default=10.0, help="per point (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=10, help="sweeps (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="from the first start to the last one"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page as Markdown")
    parser.add_argument("--output-dir", type=Path, help="keep the runs (default: thrown away)")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    if options.repeats < 2:
        parser.error("--repeats: at least 2")
    return options, words[end + 1 :]


if __name__ == "__main__":
    sys.exit(main())
