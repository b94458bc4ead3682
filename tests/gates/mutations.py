"""Spoilt settings, data, run logs, manifests, replies: a ModeltestError or a right report.

    python tests/gates/mutations.py [--count N] [--torn N] [--seconds S] [--seed S] [--kind K]

N of each kind, in process; of whole runs, of which there are three kinds, N together. A
traceback, a hang over 10 s or a spoilt log that still ends VALID with other samples is a
violation. `torn` cuts segments and flips their bits: a reader must return exactly the records
before the fault, and say whether more were behind it. Case I of a kind is the same everywhere:
`--kind K --only I` repeats it. One line of counts per kind; exit status 1 after a violation.
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
from itertools import chain
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
        failed = 0
        for left, kind in zip(range(len(kinds), 0, -1), kinds, strict=True):
            now_s = time.monotonic()  # what a kind leaves of its share, the next ones get
            share_s = max(end_s - now_s, 1.0) / left
            failed |= run(kind, KINDS[kind], base, options, (end_s, now_s + share_s))
        return failed


def run(
    kind: str,
    check: Callable[..., str],
    base: object,
    options: argparse.Namespace,
    ends_s: tuple[float, float],
) -> int:
    """Carries one kind out: what is enough until the first time, what is more until the second."""
    begin_s = time.monotonic()
    wanted = options.torn if kind == "torn" else options.count
    least = enough(wanted, options)
    if kind in WHOLE_RUNS:
        wanted, least = (-(-count // len(WHOLE_RUNS)) for count in (wanted, least))
    per_case = REPLIES_PER_CASE if kind == "replies" else 1
    num_cases = -(-wanted // per_case)
    work = functools.partial(chunk, check, base, options.seed)
    counts: Counter[str] = Counter()
    num_violations = 0
    chunks = [range(first, min(first + CHUNK, num_cases)) for first in range(0, num_cases, CHUNK)]
    num_enough = -(-least // (CHUNK * per_case))
    parts = (chunks[:num_enough], chunks[num_enough:])
    for outcomes, problems in chain.from_iterable(
        each_in_processes(work, part, end_s, options.processes)
        for part, end_s in zip(parts, ends_s, strict=True)
    ):
        counts.update(outcomes)
        for problem in problems:
            num_violations += 1
            if num_violations <= 5:
                repeat = f"--kind {kind} --seed {options.seed}"
                print(f"  VIOLATION mutations.py {repeat} --only {problem}", flush=True)
    done = sum(counts.values()) * per_case
    shown = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    what = f" in cases of {per_case}" if per_case > 1 else ""
    print(
        f"mutations {kind}: {done} of {wanted}{what} ({shown}), {num_violations} violations, "
        f"seed {options.seed}, {time.monotonic() - begin_s:.0f} s",
        flush=True,
    )
    return int(bool(num_violations) | short_of(f"mutations {kind}", done, least, options))


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
