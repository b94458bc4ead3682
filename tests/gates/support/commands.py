"""Starts `modeltest` commands: as a new process, or quickly, as a fork of a warm one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from support import quick_children

Item = TypeVar("Item")
Result = TypeVar("Result")

HANG_S = 60.0


@dataclass(frozen=True)
class Finished:
    """A command that ended; `code` is negative when a signal ended it."""

    code: int
    out: str
    err: str

    @property
    def verdict(self) -> str:
        """The first line of the output."""
        return self.out.partition("\n")[0]

    @property
    def has_traceback(self) -> bool:
        return "Traceback" in self.err or "Exception ignored" in self.err


@dataclass
class Child:
    """A running command."""

    pid: int
    out: Path
    err: Path

    def wait(self, timeout_s: float = HANG_S) -> Finished:
        """Waits for the end; a command that hangs is killed and ends with -9."""
        end_s = time.monotonic() + timeout_s
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end_s:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        texts = (path.read_text("utf-8", "replace") for path in (self.out, self.err))
        return Finished(os.waitstatus_to_exitcode(status), *texts)


def null_eval(data: Path, *more: str) -> list[str]:
    """`modeltest eval` of the null backend on a folder of clips, by a task file beside it.

    Overrides on the command line would stand among the verdict's reasons.
    """
    task = data.with_name(f"{data.name}_task.yaml")
    if not task.exists():
        count = len(list(data.iterdir()))
        task.write_text(
            f"extends: vocalsound\nlocal_dataset_path: {data}\nexpected_samples: {count}\n"
        )
    return ["eval", str(task), "null", "--device", "cpu", "--bs", "4", *more]


def run_cold(
    arguments: list[str], folder: Path, stdout: Path | None = None, **environment: str
) -> Finished:
    """Runs a command in a new process."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(stdout or os.devnull, "wb") as redirected:
        done = subprocess.run(
            [sys.executable, "-m", "modeltest", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=redirected if stdout else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            timeout=300,
            env={**os.environ, **environment},
        )
    return Finished(done.returncode, done.stdout or "", done.stderr)


def warm_up(data: Path, folder: Path) -> Finished:
    """Runs the null backend in a fork, then imports here all that it imported there."""
    return warm_up_with(null_eval(data), folder)


def warm_up_with(arguments: list[str], folder: Path) -> Finished:
    """Runs a command in a fork, then imports here all that it imported there."""
    names = folder / "modules.txt"

    def note_modules() -> None:
        names.write_text("\n".join(sys.modules))

    done = start(arguments, folder, after=note_modules).wait()
    for name in names.read_text().split():
        if name not in sys.modules and name != "__main__":
            with suppress(Exception):
                __import__(name)
    quick_children.install()
    return done


def run_warm(
    arguments: list[str], folder: Path, before: Callable[[], object] | None = None
) -> Finished:
    """Runs a command in a fork of this process."""
    return start(arguments, folder, before=before).wait()


def start(
    arguments: list[str],
    folder: Path,
    stopped: bool = False,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> Child:
    """Starts a command in a fork of this process, which has loaded the libraries already.

    Args:
        arguments: Behind `modeltest`.
        folder: Working directory; made when missing.
        stopped: Begin with SIGSTOP, so that a tracer can attach.
        before: Called in the child before the command.
        after: Called in the child when the command has returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = time.monotonic_ns()
    child = Child(0, folder / f"stdout-{number}", folder / f"stderr-{number}")
    sys.stdout.flush()
    sys.stderr.flush()
    child.pid = os.fork()
    if not child.pid:
        _become(arguments, folder, child, stopped, (before, after))
    return child


def _become(
    arguments: list[str],
    folder: Path,
    child: Child,
    stopped: bool,
    hooks: tuple[Callable[[], object] | None, Callable[[], object] | None],
) -> None:
    code = 1
    before, after = hooks
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        for descriptor, path in ((1, child.out), (2, child.err)):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, descriptor)
            os.close(opened)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        import modeltest
        from modeltest.cli.main import main

        sys.argv = [str(Path(str(modeltest.__file__)).with_name("__main__.py")), *arguments]
        if before:
            before()
        if stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
        code = main(arguments)
        sys.stdout.flush()
        if after:
            after()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def each_in_processes(
    work: Callable[[Item], Result], items: Iterable[Item], end_s: float, processes: int
) -> Iterator[Result]:
    """`work(item)` in forked workers until `end_s` of the monotonic clock, in any order.

    Items that no worker has begun by then are left out.
    """
    import multiprocessing
    from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        running = set()
        left = iter(items)
        while True:
            while len(running) < 2 * processes and time.monotonic() < end_s:
                item = next(left, None)
                if item is None:
                    break
                running.add(pool.submit(work, item))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
