"""Kills an evaluation at its K-th write, sync, rename …, for every K, and resumes it.

    python tests/gates/crash_points.py [--points N] [--seconds S] [--seed S] [--processes P]

An undisturbed run is traced first: its calls are the crash points. At each, strace kills a
run at exactly that call; the run is resumed; then, at points drawn by the seed, the resumed
run is killed too and resumed again. The witness is strace's own output: a record whose
`write` returned must be in the final log, once, and every sample once; the reports must be
those of the undisturbed run, times and run id aside; the run must have one line in the
index. A resumed run makes other calls than a first one: those of a run that was killed in the
middle of its samples and resumed are listed too, and the second kills are at these. Most runs
are forks of a process that has loaded the libraries; `--cold N` repeats N points with whole
new processes. One line of counts; exit status 1 after a violation, or when the witness saw no
sample acknowledged.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.checkout import add_source, workspace, write_clips
from support.commands import Finished, each_in_processes, null_eval, run_warm, warm_up
from support.counts import add_at_least, enough, is_blind, short_of
from support.runs import comparable, differences, log_lines, run_folder, sample_counts
from support.strace import CALLS, Call, acknowledged, calls, kind_of, missing_tool, traced

NUM_CLIPS = 12


@dataclass(frozen=True)
class Case:
    """Where the first run is killed, and where the resumed one, if it is."""

    number: int
    first: Call
    second: Call | None = None
    cold: bool = False

    def __str__(self) -> str:
        second = f", then at {self.second}" if self.second else ""
        return f"killed at {self.first}{second}{' (new process)' if self.cold else ''}"


@dataclass(frozen=True)
class Result:
    case: Case
    num_crashes: int
    num_acknowledged: int
    problems: tuple[str, ...]


class Gate:
    """What the workers share."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.data = write_clips(folder / "data", NUM_CLIPS, seed)
        done = warm_up(self.data, folder / "reference")
        if done.code or done.verdict != "VALID":
            raise RuntimeError(f"the undisturbed run ended {done.code}: {done.out[:200]}{done.err}")
        self.reference = comparable(folder / "reference")
        self.points = self._points("first", null_eval(self.data))
        num_seen = len(acknowledged(self.folder / "first.trace")[0])
        if num_seen != NUM_CLIPS:
            raise RuntimeError(f"strace's output shows {num_seen} of {NUM_CLIPS} samples written")
        self.resumed_points = self._points_of_resumed()

    def _points(self, name: str, arguments: list[str]) -> list[Call]:
        folder = self.folder / name
        traced(arguments, folder, self.folder / f"{name}.trace")
        return calls(self.folder / f"{name}.trace")

    def _points_of_resumed(self) -> list[Call]:
        """The calls of a run that is resumed with half of its samples in the log."""
        written = [call for call in self.points if kind_of(call.target) == "segment"]
        middle = written[len(written) // 2]
        inject = f"{middle.name}:signal=SIGKILL:when={middle.number}"
        folder = self.folder / "resumed"
        killed = traced(null_eval(self.data), folder, self.folder / "killed.trace", inject)
        if killed.code != -9:
            raise RuntimeError(f"the run to resume ended {killed.code}")
        return self._points("resumed", null_eval(self.data, "--resume", "last"))

    def cases(self, pick: random.Random, num_cold: int) -> Iterator[Case]:
        """Every point once, some again in new processes; then all second kills; then pairs."""
        number = 0
        for point in self.points:
            yield Case(number := number + 1, point)
        for point in pick.sample(self.points, min(num_cold, len(self.points))):
            yield Case(number := number + 1, point, cold=True)
        # Every call of a resumed run, behind a first kill while samples were written.
        written = [call for call in self.points if kind_of(call.target) == "segment"]
        for second in pick.sample(self.resumed_points, len(self.resumed_points)):
            yield Case(number := number + 1, pick.choice(written), second)
        while True:
            first, second = pick.choice(self.points), pick.choice(self.resumed_points)
            yield Case(number := number + 1, first, second)

    def run(self, case: Case) -> Result:
        folder = self.folder / f"case-{case.number}"
        try:
            return self._run(case, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, case: Case, folder: Path) -> Result:
        num_crashes = 0
        keys: set[str] = set()
        checksums: set[str] = set()
        problems: list[str] = []
        for call in (case.first, case.second):
            if call is None:
                continue
            trace = folder.with_suffix(f".{num_crashes}.trace")
            killed = self._killed(case, folder, trace, call)
            num_crashes += killed.code == -9
            if killed.has_traceback:
                problems.append(f"traceback: {killed.err[-300:]}")
            seen = acknowledged(trace)
            trace.unlink()
            keys |= seen[0]
            checksums |= seen[1]
        if num_crashes:
            done = run_warm(self._continue(folder), folder)
            problems += self._judge(folder, done, keys, checksums)
        return Result(case, num_crashes, len(keys), tuple(problems))

    def _killed(self, case: Case, folder: Path, trace: Path, call: Call) -> Finished:
        inject = f"{call.name}:signal=SIGKILL:when={call.number}"
        if not case.cold:
            return traced(self._continue(folder), folder, trace, inject)
        folder.mkdir()
        command = ["strace", "-y", "-s", "1000000", "-o", str(trace)]
        command += ["-e", f"trace={','.join(CALLS)}", "-e", f"inject={inject}"]
        command += [sys.executable, "-m", "modeltest", *self._continue(folder)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    def _continue(self, folder: Path) -> list[str]:
        resume = ["--resume", "last"] if run_folder(folder) else []
        return null_eval(self.data, *resume)

    def _judge(
        self, folder: Path, done: Finished, keys: set[str], checksums: set[str]
    ) -> Iterator[str]:
        if done.code or done.verdict != "VALID":
            yield f"resumed: exit {done.code}, {done.verdict!r}, {done.err[-400:]}"
            return
        run = run_folder(folder)
        if run is None:
            yield "no run although it ended VALID"
            return
        counts = sample_counts(run)
        doubled = [key for key, count in counts.items() if count != 1]
        if doubled or len(counts) != NUM_CLIPS:
            yield f"{len(counts)} of {NUM_CLIPS} samples in the log, {len(doubled)} more than once"
        if lost := keys - counts.keys():
            yield f"{len(lost)} acknowledged samples lost"
        there = {line[:8].decode("ascii", "replace") for line in log_lines(run)}
        if lost := checksums - there:
            yield f"{len(lost)} acknowledged records lost"
        yield from differences(self.reference, comparable(folder))
        index = (folder / "outputs" / "index.csv").read_text("utf-8")
        if index.count(run.name + ",") != 1:
            yield f"{index.count(run.name + ',')} lines of the run in index.csv, not 1"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=200, help="crash states to reach")
    parser.add_argument("--seconds", type=float, default=110.0, help="begin none after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cold", type=int, default=4, help="points repeated in new processes")
    add_at_least(parser)
    add_source(parser)
    options = parser.parse_args()
    if problem := missing_tool():
        print(f"crash_points: {problem}")
        return 1
    with workspace(options.source) as folder:
        return run(Gate(folder, options.seed), options)


def run(gate: Gate, options: argparse.Namespace) -> int:
    begin_s = time.monotonic()
    pick = random.Random(options.seed)
    print(
        f"crash_points: {len(gate.points)} calls in an undisturbed run, "
        f"{len(gate.resumed_points)} in a resumed one",
        flush=True,
    )
    num_crashes = num_acknowledged = num_double = num_violations = 0
    cases = _until(options.points, gate.cases(pick, options.cold), lambda: num_crashes)
    ends_s = begin_s + options.seconds
    results = each_in_processes(gate.run, cases, ends_s, options.processes)
    for num_runs, result in enumerate(results, start=1):
        num_crashes += result.num_crashes
        num_double += result.num_crashes == 2
        num_acknowledged += result.num_acknowledged
        for problem in result.problems:
            num_violations += 1
            print(f"  VIOLATION {result.case} [seed {options.seed}]: {problem}", flush=True)
        if num_runs % 50 == 0:
            print(f"  … {num_crashes} crash states, {time.monotonic() - begin_s:.0f} s", flush=True)
    print(
        f"crash_points: {num_crashes} crash states, {num_double} double crashes, "
        f"{num_acknowledged} acknowledged samples watched, {num_violations} violations, "
        f"seed {options.seed}, {time.monotonic() - begin_s:.0f} s"
    )
    return int(
        bool(num_violations)
        | is_blind("crash_points", num_acknowledged)
        | short_of("crash_points", num_crashes, enough(options.points, options), options)
    )


def _until(wanted: int, cases: Iterator[Case], reached: object) -> Iterator[Case]:
    while reached() < wanted:  # type: ignore[operator]
        yield next(cases)


if __name__ == "__main__":
    sys.exit(main())
