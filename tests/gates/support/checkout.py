"""A copy of the project to test, and small clips for it."""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import wave
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[3]
LABELS = ("cough", "laughter", "sigh", "sneeze", "sniff", "throatclearing")
RATE_HZ = 16_000


def add_source(parser: argparse.ArgumentParser) -> None:
    """`--source`: another tree than this one, for instance one that was broken on purpose."""
    parser.add_argument(
        "--source", type=Path, default=PROJECT, help="the project to test (default: this one)"
    )


@contextmanager
def workspace(source: Path) -> Iterator[Path]:
    """A folder on a memory disk, with `checkout/` in it and modeltest imported from there.

    A working tree with local changes makes every run INVALID; a copy without `.git` is no
    working tree.
    """
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    owner = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix="modeltest-gate-", dir=where)).resolve()
    try:
        copy_project(source, folder / "checkout")
        _use(folder / "checkout")
        yield folder
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


def copy_project(source: Path, target: Path) -> None:
    """Copies what a run needs: the package, the settings files and the scripts."""
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("modeltest", "config", "scripts"):
        shutil.copytree(source / part, target / part, ignore=ignored)


def make_dirty(checkout: Path) -> None:
    """Makes a copy a git working tree whose package has a local change."""
    git = ["git", "-C", str(checkout), "-c", "user.name=gate", "-c", "user.email=gate@localhost"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "clean"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    with (checkout / "modeltest" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("# a local change\n")


def write_clips(folder: Path, count: int, seed: int = 0, seconds: float = 0.1) -> Path:
    """`count` WAV files of noise, named as the task `vocalsound` reads them."""
    folder.mkdir(parents=True)
    for index in range(count):
        name = f"{'fm'[index % 2]}{index:04d}_0_{LABELS[index % len(LABELS)]}.wav"
        write_clip(folder / name, f"{seed}:{index}", seconds)
    return folder


def write_clip(path: Path, seed: str, seconds: float) -> None:
    """One mono 16-bit WAV; another seed makes other audio."""
    pick = random.Random(seed)
    block = array("h", (pick.randrange(-3000, 3000) for _ in range(RATE_HZ // 10)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(block.tobytes() * max(round(seconds * 10), 1))


def _use(checkout: Path) -> None:
    # One thread: the gates fork, and a forked child of a process with threads may deadlock.
    os.environ.update(
        PYTHONPATH=str(checkout),
        PYTHONDONTWRITEBYTECODE="1",
        OPENBLAS_NUM_THREADS="1",
        OMP_NUM_THREADS="1",
        HF_HUB_OFFLINE="1",
    )
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(checkout))
    found = importlib.import_module("modeltest").__file__
    if not str(found).startswith(str(checkout)):
        raise RuntimeError(f"modeltest was imported from {found}, not from {checkout}")
