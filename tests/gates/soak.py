"""Evaluates the embedded model again and again in one process: nothing may grow.

    python tests/gates/soak.py [--seconds S] [--warm-up N] [--growth SHARE]

Each round is a whole evaluation of the embedded clips as `modeltest eval` does it, reports
included. After the first rounds, resident memory may grow by 1 % and open files, threads and
children not at all. One line of figures; exit status 1 after a violation.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import io
import os
import shutil
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.checkout import add_source, workspace
from support.runs import run_folder

EVAL = ["eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "cpu"]
NUM_AVERAGED = 3


@dataclass(frozen=True)
class Held:
    """What the process holds between two rounds."""

    memory_bytes: int
    files: int
    threads: int
    children: int


def held() -> Held:
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # what the C library keeps is no leak
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text("ascii").split()
    return Held(
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        len(children),
    )


def one_round(folder: Path) -> str:
    """A whole evaluation; what is wrong with it, or empty."""
    from modeltest.cli.main import main

    folder.mkdir()
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(EVAL)
    complete = run_folder(folder) is not None
    os.chdir(folder.parent)
    shutil.rmtree(folder)
    if code or not complete or out.getvalue().partition("\n")[0] != "VALID":
        return f"ended {code}: {out.getvalue()[:100]!r} {err.getvalue()[-200:]!r}"
    return ""


def problems(found: list[Held], growth: float) -> list[str]:
    """What has grown from the first rounds after the warm-up to the last ones."""
    begin = statistics.median(each.memory_bytes for each in found[:NUM_AVERAGED])
    end = statistics.median(each.memory_bytes for each in found[-NUM_AVERAGED:])
    told = []
    if end > begin * (1 + growth):
        told.append(f"memory grew by {end / begin - 1:.1%}, from {begin / 2**20:.0f} MiB")
    for name in ("files", "threads", "children"):
        first, last = getattr(found[0], name), getattr(found[-1], name)
        if last > first:
            told.append(f"{name} grew from {first} to {last}")
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="begin no round after so long")
    parser.add_argument("--warm-up", type=int, default=8, help="rounds that may still grow")
    parser.add_argument("--growth", type=float, default=0.01, help="of memory, as a share")
    parser.add_argument("--seed", type=int, default=0, help="taken and not used")
    add_source(parser)
    options = parser.parse_args()
    begin_s = time.monotonic()
    found: list[Held] = []
    with workspace(options.source) as root:
        sys.argv = ["modeltest", *EVAL]
        while len(found) < options.warm_up + 2 * NUM_AVERAGED or (
            time.monotonic() - begin_s < options.seconds
        ):
            if problem := one_round(root / "round"):
                print(f"  VIOLATION round {len(found) + 1}: {problem}")
                return 1
            found.append(held())
    kept = found[options.warm_up :]
    told = problems(kept, options.growth)
    for problem in told:
        print(f"  VIOLATION {problem}")
    print(
        f"soak: {len(found)} evaluations in one process, memory {kept[0].memory_bytes / 2**20:.0f} "
        f"MiB, then {kept[-1].memory_bytes / 2**20:.0f} MiB, open files {kept[0].files}, then "
        f"{kept[-1].files}, {len(told)} violations, {time.monotonic() - begin_s:.0f} s"
    )
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
