"""Faults at exactly the K-th call, by strace; and what strace saw, as a witness."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.commands import Finished, start

CALLS = (
    "write", "pwrite64", "writev", "fsync", "fdatasync", "sync_file_range", "rename", "renameat",
    "renameat2", "ftruncate", "mkdir", "mkdirat", "unlink", "unlinkat", "link", "linkat",
)  # fmt: skip
_CALL = re.compile(
    r"^(\w+)\((?:(?:AT_FDCWD(?:<[^>]*>)?, )?(?:\d+<((?:[^>\\]|\\.)*)>|\"([^\"]*)\"))?"
)
_KEY = re.compile(r"\\\"key\\\":\\\"([0-9a-f]{64})\\\"")
_RECORD = re.compile(r"\.jsonl>, \"([0-9a-f]{8}) .*, (\d+)\) += (\d+)( \(INJECTED\))?$")


@dataclass(frozen=True)
class Call:
    """The `number`-th call of a name in a process, from 1, and the file it is about."""

    name: str
    number: int
    target: str = ""

    def __str__(self) -> str:
        return f"{self.name}#{self.number} ({kind_of(self.target)})"


def missing_tool() -> str:
    """Why faults cannot be injected here, or empty."""
    if not shutil.which("strace"):
        return "strace is not installed (apt-get install strace)"
    done = subprocess.run(["strace", "-qq", "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace does not work here: {done.stderr.strip()}"


def kind_of(target: str) -> str:
    """What a file is to a run."""
    name = target.rpartition("/")[2]
    kinds = {
        "segment": name.endswith(".jsonl"),
        "manifest": ".manifest.json" in name,
        "index": name == "index.csv",
        "run.log": name == "run.log",
        "lock": name == "lock",
        "probe": name.startswith("#"),  # a file without a name
        "pipe": target.startswith(("pipe:", "socket:", "UNIX")),
        "stdout": name.startswith("stdout"),
        "stderr": name.startswith("stderr"),
        "report": name.startswith(".") or name == "report.html",
    }
    return next((kind for kind, it_is in kinds.items() if it_is), "folder")


def traced(
    arguments: list[str],
    folder: Path,
    trace: Path,
    inject: str = "",
    before: Callable[[], object] | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Finished:
    """Runs a command in a warm fork with its main thread traced.

    Args:
        arguments: Behind `modeltest`.
        folder: Working directory.
        trace: strace's output.
        inject: For instance `write:signal=SIGKILL:when=7`; empty only traces.
        before: Called in the child before the command.
        meanwhile: Called once the command runs.
    """
    child = start(arguments, folder, stopped=True, before=before)
    os.waitpid(child.pid, os.WUNTRACED)
    command = ["strace", "-y", "-s", "1000000", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
    command += ["-e", f"inject={inject}"] if inject else []
    tracer = subprocess.Popen(
        [*command, "-p", str(child.pid)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    if b"attached" not in said:
        os.kill(child.pid, signal.SIGKILL)
        raise RuntimeError(f"strace cannot attach: {said.decode().strip()}")
    os.kill(child.pid, signal.SIGCONT)
    if meanwhile:
        meanwhile()
    done = child.wait()
    tracer.wait()
    tracer.stderr.close()
    return done


def calls(trace: Path) -> list[Call]:
    """All calls of a trace, each with its number among those of its name."""
    counted: Counter[str] = Counter()
    found = []
    for line in trace.read_text("utf-8", "replace").splitlines():
        match = _CALL.match(line)
        if match:
            counted[match[1]] += 1
            found.append(Call(match[1], counted[match[1]], match[2] or match[3] or ""))
    return found


def acknowledged(trace: Path) -> tuple[set[str], set[str]]:
    """Sample keys and line checksums of the records whose `write` returned in full."""
    keys, checksums = set(), set()
    for line in trace.read_text("utf-8", "replace").splitlines():
        match = _RECORD.search(line)
        if line.startswith("write(") and match and match[2] == match[3] and not match[4]:
            checksums.add(match[1])
            keys.update(_KEY.findall(line))
    return keys, checksums


def wait_for(path_there: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Waits until something is so."""
    end_s = time.monotonic() + timeout_s
    while not path_there():
        if time.monotonic() > end_s:
            raise RuntimeError("waited in vain")
        time.sleep(0.002)
