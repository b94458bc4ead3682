"""A disk that fills up, refuses, breaks or is read-only: the run stops in order and resumes.

    python tests/gates/disk_faults.py [--points N] [--seconds S] [--seed S] [--processes P]

ENOSPC and EIO at each write, sync, rename and mkdir of an evaluation and of a rebuilt report
(strace), full tmpfs folders, a file-size limit, a read-only bind mount, /dev/full. Every time:
the stated exit code, one line that says what to do, no traceback, nothing written behind a
failed sync, old reports as they were, and once the cause is gone the resumed run ends VALID
with the undisturbed run's reports. The line of a full disk says how much room the rest of the
run needs, or how much is free; a full tmpfs then gets no more than that. One line of counts;
exit status 1 after a violation.
"""

from __future__ import annotations

import argparse
import functools
import random
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support import mounts, strace
from support.checkout import add_source, workspace, write_clips
from support.commands import Finished, each_in_processes, null_eval, run_cold, run_warm, warm_up
from support.counts import add_at_least, enough, short_of
from support.runs import comparable, differences, report_bytes, run_folder
from support.strace import Call, calls, kind_of, traced

FAULTY = ("write", "fsync", "fdatasync", "rename", "mkdir", "ftruncate")
NUM_CLIPS = 60
TMPFS_KIB = (16, 32, 48, 64, 80)
FILE_BYTES = (4096, 6000, 9000, 12_000, 20_000, 40_000)
MAX_S_TO_REFUSE = 2.0
NEEDED_MB = re.compile(r"the rest of the run needs about (\d+) MB, \d+ [kMG]B are free")
FREE = re.compile(r"\(\d+ [kMG]B are free\)")
ENOUGH_KIB = 8192

Check = Callable[[], Iterator[str]]


class Gate:
    """The undisturbed run, and the checks that the workers carry out."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.data = write_clips(folder / "data", NUM_CLIPS, seed)
        self.eval = null_eval(self.data)
        self.whole = folder / "reference"
        done = warm_up(self.data, self.whole)
        if done.code:
            raise RuntimeError(f"the undisturbed run ended {done.code}: {done.err}")
        self.reference = comparable(self.whole)

    def checks(self, points: int, pick: random.Random) -> Iterator[tuple[str, Check]]:
        for kib in TMPFS_KIB:
            yield f"tmpfs of {kib} KiB", functools.partial(self._tmpfs, kib)
        for size in FILE_BYTES:
            yield f"files of at most {size} bytes", functools.partial(self._file_limit, size)
        yield "read-only output", self._read_only
        yield "standard output full", self._stdout_full
        rebuild = [(call, "report") for call in self._calls("rebuild", ["report", "last"], True)]
        evaluation = [(call, "eval") for call in self._calls("evaluation", self.eval, False)]
        # Most calls are the same write of another record: all others first.
        seen: set[tuple[str, str, str]] = set()
        first, more = [], []
        for call, command in (*rebuild, *evaluation):
            kind = (command, call.name, kind_of(call.target))
            (more if kind in seen else first).append((call, command))
            seen.add(kind)
        for call, command in (*first, *pick.sample(more, len(more)))[: max(points, len(first))]:
            for error in ("ENOSPC", "EIO"):
                check = self._rebuild_fault if command == "report" else self._fault
                yield f"{error} at {call} of {command}", functools.partial(check, call, error)

    def _calls(self, name: str, arguments: list[str], of_whole_run: bool) -> list[Call]:
        folder = self.folder / name
        if of_whole_run:
            shutil.copytree(self.whole, folder)
        trace = self.folder / f"{name}.trace"
        traced(arguments, folder, trace)
        left_out = {"pipe", "stdout", "stderr"}
        found = [call for call in calls(trace) if call.name in FAULTY]
        return [call for call in found if kind_of(call.target) not in left_out]

    def _fault(self, call: Call, error: str) -> Iterator[str]:
        folder = self.folder / f"{call.name}-{call.number}-{error}"
        trace = folder.with_suffix(".trace")
        done = traced(self.eval, folder, trace, f"{call.name}:error={error}:when={call.number}")
        kind = kind_of(call.target)
        yield from _stopped(done, _codes(call))
        if error == "ENOSPC" and done.code == 5:
            yield from _says_how_much(done)
        if kind == "segment":
            yield from _nothing_after(trace, call)
        yield from self._resumes(folder)
        trace.unlink()
        shutil.rmtree(folder)

    def _rebuild_fault(self, call: Call, error: str) -> Iterator[str]:
        folder = self.folder / f"rebuild-{call.name}-{call.number}-{error}"
        shutil.copytree(self.whole, folder)
        before = report_bytes(folder)
        inject = f"{call.name}:error={error}:when={call.number}"
        done = traced(["report", "last"], folder, folder.with_suffix(".trace"), inject)
        yield from _stopped(done, _codes(call))
        if error == "ENOSPC" and done.code == 5:
            yield from _says_how_much(done)
        if report_bytes(folder) != before:
            yield "old reports are not as they were"
        shutil.rmtree(folder)

    def _tmpfs(self, kib: int) -> Iterator[str]:
        folder = self.folder / f"tmpfs-{kib}"
        outputs = folder / "outputs"
        mounts.mount_tmpfs(outputs, kib)
        try:
            done = run_warm(self.eval, folder)
            yield from _stopped(done, (5,))
            yield from _says_how_much(done)
            needed = NEEDED_MB.search(done.err)
            more_kib = int(needed[1]) * 1_000_000 // 1024 if needed else ENOUGH_KIB
            mounts.grow_tmpfs(outputs, kib + more_kib)
            yield from self._resumes(folder)
        finally:
            mounts.unmount(outputs)

    def _file_limit(self, size: int) -> Iterator[str]:
        folder = self.folder / f"limit-{size}"

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        yield from _stopped(run_warm(self.eval, folder, before=limit), (5,))
        yield from self._resumes(folder)

    def _read_only(self) -> Iterator[str]:
        folder = self.folder / "read-only"
        outputs = folder / "outputs"
        outputs.mkdir(parents=True)
        mounts.mount_read_only(outputs)
        try:
            begin_s = time.monotonic()
            done = run_cold(["eval", "vocalsound_mini", "qwen2_audio_tiny"], folder)
            taken_s = time.monotonic() - begin_s
        finally:
            mounts.unmount(outputs)
        yield from _stopped(done, (2,))
        if taken_s > MAX_S_TO_REFUSE:
            yield f"refused after {taken_s:.1f} s only"
        if "outputs" not in done.err:
            yield f"the folder is not named: {done.err}"

    def _stdout_full(self) -> Iterator[str]:
        folder = self.folder / "stdout-full"
        done = run_cold(self.eval, folder, stdout=Path("/dev/full"))
        yield from _stopped(done, (5,))
        yield from self._resumes(folder)
        yield from _stopped(run_cold(["list", "models"], folder, stdout=Path("/dev/full")), (5,))

    def _resumes(self, folder: Path) -> Iterator[str]:
        resume = ["--resume", "last"] if run_folder(folder) else []
        done = run_warm([*self.eval, *resume], folder)
        if done.code or done.verdict != "VALID":
            yield f"afterwards: exit {done.code}, {done.verdict!r}, {done.err[-300:]}"
        else:
            yield from differences(self.reference, comparable(folder))


def _codes(call: Call) -> tuple[int, ...]:
    """The exit codes that are right when a call failed."""
    if call.name == "mkdir":
        return (0, 5)  # most folders are there already
    # Before anything is loaded another folder can be chosen; a run is whole without its line
    # in the index and without run.log.
    return {"probe": (2,), "index": (0,), "run.log": (0,)}.get(kind_of(call.target), (5,))


def _stopped(done: Finished, codes: tuple[int, ...]) -> Iterator[str]:
    if done.code not in codes:
        yield f"exit {done.code}, not {' or '.join(map(str, codes))}: {done.err[-300:]}"
    if done.has_traceback:
        yield f"traceback: {done.err[-500:]}"
    told = [line for line in done.err.splitlines() if line.startswith("modeltest:")]
    told = [line for line in told if not line.startswith("modeltest: warning:")]
    if done.code and len(told) != 1:
        yield f"{len(told)} lines 'modeltest: …', not 1: {done.err[-300:]}"


def _says_how_much(done: Finished) -> Iterator[str]:
    if not (NEEDED_MB.search(done.err) or FREE.search(done.err)):
        yield f"it does not say how much room is needed or free: {done.err[-300:]}"


def _nothing_after(trace: Path, call: Call) -> Iterator[str]:
    """After a refused write or a failed sync the segment takes nothing, and no sync is retried."""
    found = [each for each in calls(trace) if each.target == call.target]
    names = [(each.name, each.number) for each in found]
    at = next((i for i, each in enumerate(names) if each == (call.name, call.number)), None)
    if at is None:  # the segment's name differs from run to run, its calls do not
        segments = [c for c in calls(trace) if kind_of(c.target) == "segment"]
        names = [(each.name, each.number) for each in segments]
        at = names.index((call.name, call.number))
    if names[at + 1 :]:
        yield f"the segment saw {names[at + 1 :]} after the fault"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=40, help="calls to let fail, each twice")
    parser.add_argument("--seconds", type=float, default=60.0, help="begin none after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    add_at_least(parser)
    add_source(parser)
    options = parser.parse_args()
    if problem := strace.missing_tool() or mounts.missing_tool():
        print(f"disk_faults: {problem}")
        return 1
    mounts.enter_namespace()
    with workspace(options.source) as folder:
        return run(Gate(folder, options.seed), options)


def run(gate: Gate, options: argparse.Namespace) -> int:
    begin_s = time.monotonic()
    checks = list(gate.checks(options.points, random.Random(options.seed)))
    num_done = num_violations = 0
    end_s = begin_s + options.seconds
    results = each_in_processes(_carry_out, checks, end_s, options.processes)
    for name, problems in results:
        num_done += 1
        for problem in problems:
            num_violations += 1
            print(f"  VIOLATION {name} [seed {options.seed}]: {problem}", flush=True)
        if num_done % 25 == 0:
            print(f"  … {num_done} of {len(checks)} faults", flush=True)
    print(
        f"disk_faults: {num_done} of {len(checks)} faults, {num_violations} violations, "
        f"seed {options.seed}, {time.monotonic() - begin_s:.0f} s"
    )
    return int(
        bool(num_violations)
        | short_of("disk_faults", num_done, enough(len(checks), options), options)
    )


def _carry_out(named: tuple[str, Check]) -> tuple[str, list[str]]:
    name, check = named
    return name, list(check())


if __name__ == "__main__":
    sys.exit(main())
