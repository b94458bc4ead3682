"""Spoilt settings, data, run logs, manifests, replies: a ModeltestError or a right report.

    python tests/gates/mutations.py [--count N] [--torn N] [--seconds S] [--seed S] [--kind K]

N of each kind, in process; of whole runs, of which there are three kinds, N together. A
traceback, a hang over 10 s, a spoilt log that still ends VALID with other samples, or a manifest
with a changed byte that still ends VALID is a violation: the log names the manifest. `torn` cuts
segments and flips their bits: a reader must return exactly the records before the fault, and say
whether more were behind it. Case I of a kind is the same everywhere: `--kind K --only I` repeats
it. One line of counts per kind; exit status 1 after a violation.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent))

from support.checkout import add_source, workspace
from support.commands import each_in_processes
from support.counts import add_at_least, enough, short_of

HANG_S = 10
REPLIES_PER_CASE = 12
# Kinds that spoil a whole run and read all of it; together they make the count of logs.
WHOLE_RUNS = ("resealed", "rechecked", "logs")
CHUNK = 100


class Hang(BaseException):
    """A case took longer than `HANG_S`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="cases of each kind")
    parser.add_argument("--torn", type=int, default=25_000, help="torn and flipped segments")
    parser.add_argument("--seconds", type=float, default=120.0, help="begin none after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kind", help="one kind only")
    parser.add_argument("--only", type=int, help="repeat this case of --kind")
    add_at_least(parser)
    add_source(parser)
    options = parser.parse_args()
    if not __debug__:
        print("mutations: its checks are assertions; run it without -O")
        return 1
    with workspace(options.source) as folder:
        from support.mutated import KINDS, prepare  # modeltest can be imported by now

        warnings.simplefilter("ignore")
        base = prepare(folder)
        kinds = [options.kind] if options.kind else list(KINDS)
        if options.only is not None:
            found = list(one(KINDS[options.kind], base, options.seed, options.only))
            print("\n".join(found) or "no violation")
            return int(bool(found))
        end_s = time.monotonic() + options.seconds
        tallies = [Tally(kind, KINDS[kind], options) for kind in kinds]
        for tally in tallies:  # what is enough of every kind, before there is more of one
            tally.carry_out(base, tally.num_enough, end_s)
        for left, tally in zip(range(len(tallies), 0, -1), tallies, strict=True):
            now_s = time.monotonic()  # what a kind leaves of its share, the next ones get
            tally.carry_out(base, None, now_s + max(end_s - now_s, 0.0) / left)
        return max(tally.report() for tally in tallies)


class Tally:
    """What came of one kind so far."""

    def __init__(self, kind: str, check: Callable[..., str], options: argparse.Namespace) -> None:
        self.kind, self.check, self.options = kind, check, options
        self.per_case = REPLIES_PER_CASE if kind == "replies" else 1
        wanted = options.torn if kind == "torn" else options.count
        least = enough(wanted, options)
        if kind in WHOLE_RUNS:
            wanted, least = (-(-count // len(WHOLE_RUNS)) for count in (wanted, least))
        self.wanted, self.least = wanted, least
        num_cases = -(-wanted // self.per_case)
        self.chunks = [
            range(first, min(first + CHUNK, num_cases)) for first in range(0, num_cases, CHUNK)
        ]
        self.num_enough = -(-least // (CHUNK * self.per_case))
        self.counts: Counter[str] = Counter()
        self.num_violations = 0
        self.seconds = 0.0

    def carry_out(self, base: object, num_chunks: int | None, end_s: float) -> None:
        """The next chunks, or all that are left; none is begun after the time."""
        begin_s = time.monotonic()
        num = len(self.chunks) if num_chunks is None else num_chunks
        chunks, self.chunks = self.chunks[:num], self.chunks[num:]
        work = functools.partial(chunk, self.check, base, self.options.seed)
        for outcomes, problems in each_in_processes(work, chunks, end_s, self.options.processes):
            self.counts.update(outcomes)
            for problem in problems:
                self.num_violations += 1
                if self.num_violations <= 5:
                    repeat = f"--kind {self.kind} --seed {self.options.seed}"
                    print(f"  VIOLATION mutations.py {repeat} --only {problem}", flush=True)
        self.seconds += time.monotonic() - begin_s

    def report(self) -> int:
        """Prints the counts; 1 after a violation, or with too few cases."""
        done = sum(self.counts.values()) * self.per_case
        shown = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        what = f" in cases of {self.per_case}" if self.per_case > 1 else ""
        print(
            f"mutations {self.kind}: {done} of {self.wanted}{what} ({shown}), "
            f"{self.num_violations} violations, seed {self.options.seed}, {self.seconds:.0f} s",
            flush=True,
        )
        short = short_of(f"mutations {self.kind}", done, self.least, self.options)
        return int(bool(self.num_violations) | short)


def chunk(
    check: Callable[..., str], base: object, seed: int, numbers: range
) -> tuple[Counter[str], list[str]]:
    """Outcomes of some cases, and the violations among them."""
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for number in numbers:
        found = list(one(check, base, seed, number, counts))
        problems += [f"{number}: {problem}" for problem in found]
    return counts, problems


def one(
    check: Callable[..., str],
    base: object,
    seed: int,
    number: int,
    counts: Counter[str] | None = None,
) -> list[str]:
    """Carries one case out; what went wrong with it."""
    from modeltest.errors import ModeltestError

    counts = Counter() if counts is None else counts
    pick = random.Random(f"{seed}:{check.__name__}:{number}")
    signal.signal(signal.SIGALRM, _hang)
    signal.alarm(HANG_S)
    outcome, problems = "violating", []
    try:
        outcome = check(base, pick, os.getpid())
    except ModeltestError as error:
        outcome = "refused"
        if not str(error).strip() or str(error).count("\n") > 40:
            problems = [f"a message of {len(str(error))} characters: {str(error)[:100]!r}"]
    except AssertionError as error:
        problems = [str(error)]
    except Hang:
        problems = [f"took over {HANG_S} s"]
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        problems = [f"{type(error).__name__}: {error} at {where.filename[-40:]}:{where.lineno}"]
    finally:
        signal.alarm(0)
    counts[outcome] += 1
    return problems


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise Hang


if __name__ == "__main__":
    sys.exit(main())
