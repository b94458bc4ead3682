"""Runs every gate: in minutes after each change, or for a release, for as long as you give it.

    python tests/gates/run_all.py [--seed S]
    python tests/gates/run_all.py --release [--minutes M] [--seed S] [--write FILE]

Each gate prints its own lines; at the end comes one line per gate. A gate whose script or fault
tool is missing fails, and so does one that ran fewer cases than it had to: after each change
all of them, for a release at least as many as after a change. With `--release` the counts,
seeds and versions are written to docs/measurements/reliability.md. Exit status 1 when a gate
failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
REPORT = PROJECT / "docs" / "measurements" / "reliability.md"
# With less, some gate's share of the time is over before its least count, on two slow cores.
MIN_RELEASE_MINUTES = 12
# What all gates of a change should take together; a slower machine fails nothing.
CHANGE_S = 360
PACKAGES = ("numpy", "soundfile", "transformers", "torch", "pydantic", "PyYAML", "jinja2")


@dataclass(frozen=True)
class Gate:
    """A script, its bounds for each change, and its goal and share of a release's time."""

    script: str
    what: str
    change: tuple[str, ...]
    release: tuple[str, ...] = ()
    share: float = 0.0


GATES = (
    Gate(
        "crash_points.py",
        "SIGKILL at each write, sync, rename, then on the resumed run too",
        ("--points", "220", "--seconds", "240"),
        ("--points", "2000", "--cold", "20", "--at-least", "200"),
        0.15,
    ),
    Gate(
        "disk_faults.py",
        "ENOSPC and EIO at each call, full and read-only disks, limits",
        ("--points", "24", "--seconds", "120"),
        ("--points", "100000", "--at-least", "60"),
        0.10,
    ),
    Gate(
        "mutations.py",
        "spoilt settings, data, logs, manifests, replies; torn and flipped segments",
        ("--count", "20000", "--torn", "25000", "--seconds", "900"),
        ("--count", "1000000", "--torn", "1000000", "--at-least", "20000"),
        0.30,
    ),
    Gate(
        "verdicts.py",
        "every rule of the verdict forced; clean runs",
        ("--clean", "50"),
        ("--clean", "50"),
    ),
    Gate(
        "kills.py",
        "kill -9 of 120-sample runs of the embedded model at random times",
        ("--times", "20", "--seconds", "180"),
        ("--times", "500", "--at-least", "20"),
        0.15,
    ),
    Gate(
        "worker_kills.py",
        "kill -9 of a worker of data-parallel runs at random times",
        ("--times", "10", "--seconds", "240"),
        ("--times", "200", "--at-least", "10"),
        0.10,
    ),
    Gate(
        "signals.py",
        "SIGINT and SIGTERM at random times of runs, resumed each time",
        ("--times", "50", "--seconds", "120"),
        ("--times", "1000", "--at-least", "50"),
        0.05,
    ),
    Gate(
        "audio_mutations.py",
        "spoilt clips of every container",
        ("--count", "100000", "--seconds", "300"),
        ("--count", "10000000", "--at-least", "100000"),
        0.10,
    ),
    Gate(
        "vllm_server.py",
        "a real vLLM server: the answers of this process, and a sweep of requests in flight",
        (),
        ("--vllm-python", ".venv-vllm/bin/python"),
    ),
    Gate(
        "soak.py",
        "one process that evaluates for long: memory and open files stay as they are",
        (),
        (),
        0.05,
    ),
)


@dataclass(frozen=True)
class Outcome:
    gate: Gate
    arguments: tuple[str, ...]
    passed: bool
    lines: tuple[str, ...]
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--release", action="store_true", help="the release's counts")
    parser.add_argument("--minutes", type=float, default=60.0, help="of a release's gates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, default=REPORT, help="the release's report")
    options = parser.parse_args()
    if options.release and not options.minutes >= MIN_RELEASE_MINUTES:
        parser.error(
            f"--minutes {options.minutes:g}: a release takes {MIN_RELEASE_MINUTES} or more"
        )
    started = datetime.now(timezone.utc)
    gates = [gate for gate in GATES if options.release or gate.change]
    outcomes = [carry_out(gate, options) for gate in gates]
    print("\n== gates")
    for outcome in outcomes:
        mark = "ok    " if outcome.passed else "FAILED"
        print(f"{mark} {outcome.seconds:5.0f} s  {outcome.gate.script:<20} {outcome.lines[-1]}")
    if not options.release:
        together_s = sum(outcome.seconds for outcome in outcomes)
        print(f"gates: {together_s:.0f} s together (bound {CHANGE_S} s)")
    if options.release:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(report(outcomes, started), encoding="utf-8")
        print(f"written: {options.write}")
    return int(not all(outcome.passed for outcome in outcomes))


def carry_out(gate: Gate, options: argparse.Namespace) -> Outcome:
    """Runs one gate, showing its lines as they come; Python itself fails without its script."""
    arguments = gate.release if options.release else gate.change
    if options.release and gate.share:
        arguments = (*arguments, "--seconds", str(round(60 * options.minutes * gate.share)))
    arguments = (*arguments, "--seed", str(options.seed))
    print(f"== {gate.script} {' '.join(arguments)}", flush=True)
    begin_s = time.monotonic()
    lines = []
    with subprocess.Popen(
        [sys.executable, str(HERE / gate.script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    passed = process.returncode == 0
    told = tuple(line for line in lines if line.strip()) or ("it printed nothing",)
    return Outcome(gate, arguments, passed, told, time.monotonic() - begin_s)


def report(outcomes: list[Outcome], started: datetime) -> str:
    """The release's figures as Markdown."""
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    strace = _first_line(["strace", "-V"])
    facts = {
        "date": f"{started:%Y-%m-%d}",
        "command": f"`python tests/gates/run_all.py {' '.join(sys.argv[1:])}`",
        "modeltest": _commit(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, "
        f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "fault tools": f"{strace}; {_first_line(['unshare', '--version'])}",
        "time": f"{minutes:.0f} minutes",
    }
    rows = [
        f"| {outcome.gate.what} | {'passed' if outcome.passed else '**failed**'} | "
        f"{outcome.seconds:.0f} | {'<br>'.join(_counts(outcome))} |"
        for outcome in outcomes
    ]
    commands = [f"python tests/gates/{o.gate.script} {' '.join(o.arguments)}" for o in outcomes]
    return "\n".join(
        [
            "# Reliability",
            "",
            "Written by `tests/gates/run_all.py --release`; every figure is what a gate printed.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
            "",
            "| gate | result | seconds | counts |",
            "|---|---|---|---|",
            *rows,
            "",
            "A gate stops at its count or at its share of the time, whichever is first; the",
            "counts above are those that were reached. To repeat one gate:",
            "",
            "```",
            *commands,
            "```",
            "",
        ]
    )


def _counts(outcome: Outcome) -> list[str]:
    kept = [line for line in outcome.lines if " violations" in line] or [outcome.lines[-1]]
    return [line.replace("|", "\\|") for line in kept]


def _commit() -> str:
    commit = _first_line(["git", "-C", str(PROJECT), "rev-parse", "--short=12", "HEAD"])
    changes = _first_line(["git", "-C", str(PROJECT), "status", "--porcelain", "--", "modeltest"])
    return f"commit {commit}{', with local changes' if changes else ''}"


def _first_line(command: list[str]) -> str:
    if not shutil.which(command[0]):
        return f"{command[0]} is missing"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


if __name__ == "__main__":
    sys.exit(main())
