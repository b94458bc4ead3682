"""SIGINT or SIGTERM at random times of an evaluation, which is resumed each time.

    python tests/gates/signals.py [--times N] [--seconds S] [--seed S] [--processes P]

The moment is drawn by the seed between the run's start and the time that an undisturbed one
takes; every fourth run gets a second signal behind the first. Each must end within 10 s with
130 or 143 and without a traceback, and once its log is open it must say how to continue; a run
that ended before its signal must be VALID. Resumed, each ends VALID with the undisturbed run's
reports. One line of counts; exit status 1 after a violation.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.checkout import add_source, workspace, write_clips
from support.commands import Finished, each_in_processes, null_eval, run_warm, start, warm_up
from support.counts import add_at_least, enough, short_of
from support.runs import comparable, differences, run_folder

NUM_CLIPS = 200
LONGEST_S = 10.0


@dataclass(frozen=True)
class Gate:
    """What the workers share."""

    folder: Path
    arguments: list[str]
    reference: dict[str, str]
    whole_s: float


def prepare(folder: Path) -> Gate:
    data = write_clips(folder / "data", NUM_CLIPS)
    done = warm_up(data, folder / "reference")
    if done.code or done.verdict != "VALID":
        raise RuntimeError(f"the undisturbed run ended {done.code}: {done.out[:200]}{done.err}")
    begin_s = time.monotonic()
    run_warm(null_eval(data), folder / "timed")
    whole_s = time.monotonic() - begin_s
    return Gate(folder, null_eval(data), comparable(folder / "reference"), whole_s)


def carry_out(gate: Gate, seed: int, number: int) -> tuple[bool, list[str]]:
    """One run; whether a signal met it, and what was wrong."""
    pick = random.Random(f"{seed}:{number}")
    signals = [pick.choice((signal.SIGINT, signal.SIGTERM))]
    if number % 4 == 0:
        signals.append(pick.choice((signal.SIGINT, signal.SIGTERM)))
    moment = pick.uniform(0.0, gate.whole_s)
    folder = gate.folder / f"case-{number}"
    # From here on the command itself decides what a signal does.
    ready = folder / "ready"
    child = start(gate.arguments, folder, before=lambda: _tell_when_ready(ready))
    while not ready.exists():
        time.sleep(0.001)
    time.sleep(moment)
    for each in signals:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, each)
    begin_s = time.monotonic()
    done = child.wait()
    where = f"{'+'.join(s.name for s in signals)} after {moment:.3f} s, case {number} [seed {seed}]"
    found = list(_judge(gate, folder, done, time.monotonic() - begin_s, signals))
    shutil.rmtree(folder)
    return done.code in {130, 143}, [f"{where}: {problem}" for problem in found]


def _tell_when_ready(ready: Path) -> None:
    """Touches a file once the command has put its own handlers in place."""
    from modeltest.cli import main

    original = main.interruptible

    @contextlib.contextmanager
    def interruptible() -> Iterator[None]:
        with original():
            ready.touch()
            yield

    main.interruptible = interruptible


def _judge(
    gate: Gate, folder: Path, done: Finished, taken_s: float, signals: list[signal.Signals]
) -> Iterator[str]:
    if done.has_traceback:
        yield f"traceback: {done.err[-400:]}"
    if taken_s > LONGEST_S:
        yield f"ended {taken_s:.1f} s after the signal"
    run = run_folder(folder)
    began = run is not None and any(run.glob("log/*.jsonl"))
    if done.code in {0, *(128 + each for each in signals)}:
        told = "to continue: " in done.err
        if done.code and began and not told and "VALID" not in done.out:
            yield f"does not say how to continue: {done.err[-300:]!r}"
    else:
        yield f"exit {done.code}: {done.err[-300:]}"
    resume = ["--resume", "last"] if run else []
    resumed = run_warm([*gate.arguments, *resume], folder)
    if resumed.code or resumed.verdict != "VALID":
        yield f"resumed: exit {resumed.code}, {resumed.verdict!r}: {resumed.err[-300:]}"
    else:
        yield from differences(gate.reference, comparable(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0, help="begin none after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    add_at_least(parser)
    add_source(parser)
    options = parser.parse_args()
    with workspace(options.source) as folder:
        gate = prepare(folder)
        begin_s = time.monotonic()
        work = functools.partial(carry_out, gate, options.seed)
        end_s = begin_s + options.seconds
        num_runs = num_met = num_violations = 0
        numbers = range(options.times)
        for met, problems in each_in_processes(work, numbers, end_s, options.processes):
            num_runs += 1
            num_met += met
            for problem in problems:
                num_violations += 1
                print(f"  VIOLATION {problem}", flush=True)
    print(
        f"signals: {num_runs} of {options.times} runs of {NUM_CLIPS} clips ({gate.whole_s:.2f} s "
        f"each), {num_met} ended by their signal, {num_violations} violations, seed "
        f"{options.seed}, {time.monotonic() - begin_s:.0f} s"
    )
    return int(
        bool(num_violations)
        | short_of("signals", num_runs, enough(options.times, options), options)
    )


if __name__ == "__main__":
    sys.exit(main())
