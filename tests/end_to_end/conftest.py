"""Whole commands in child processes, as users start them."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

LABELS = ("cough", "laughter", "sigh", "sneeze", "sniff", "throatclearing")


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str
    folder: Path

    def result_file(self, kind: str) -> Path:
        """The CSV of a kind, of the only run in the folder."""
        [path] = self.folder.glob(f"outputs/*/modeltest/*/precision_result/results/**/*_{kind}.csv")
        return path

    @property
    def run_folder(self) -> Path:
        [path] = self.folder.glob("outputs/*/modeltest/*/precision_result/runs/*")
        return path


def run(command: list[str], folder: Path, **environment: str) -> Finished:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "MODELTEST_PYTHON": sys.executable, **environment},
    )
    return Finished(done.returncode, done.stdout, done.stderr, folder)


@pytest.fixture(scope="session")
def checkout(project, tmp_path_factory) -> Path:
    """The project as users have it: without a developer's local changes, which are INVALID."""
    folder = tmp_path_factory.mktemp("a checkout")
    for part in ("modeltest", "config", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(project / part, folder / part, ignore=ignored)
    return folder


@pytest.fixture(scope="session")
def modeltest(checkout) -> Callable[..., Finished]:
    """`modeltest ARGUMENTS` in a folder."""

    def command(folder: Path, *arguments: str, **environment: str) -> Finished:
        environment.setdefault("PYTHONPATH", str(checkout))
        return run([sys.executable, "-m", "modeltest", *arguments], folder, **environment)

    return command


@pytest.fixture
def start(checkout) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a command and kills it at the test's end, should it still run."""
    started = []

    def command(folder: Path, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "modeltest", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )
        started.append(process)
        return process

    yield command
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def noise_task(tmp_path_factory) -> Callable[[int, int], Path]:
    """A task file beside clips of noise: how many, and the samples of the shortest.

    Each clip is a sample longer than the one before.
    """

    def make(num_clips: int, shortest: int) -> Path:
        folder = tmp_path_factory.mktemp("noise task")
        clips = folder / "clips"
        clips.mkdir()
        noise = np.random.default_rng(5).uniform(-0.1, 0.1, shortest + num_clips)
        for index in range(num_clips):
            name = f"{'fm'[index % 2]}{index:04d}_0_{LABELS[index % len(LABELS)]}.wav"
            soundfile.write(clips / name, noise[: shortest + index], 16_000)
        path = folder / "noise.yaml"
        path.write_text(
            f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: {num_clips}\n"
        )
        return path

    return make


@pytest.fixture(scope="session")
def mm_run(checkout) -> Callable[..., Finished]:
    """`bash scripts/mm_run.sh ARGUMENTS` in a folder."""

    def command(folder: Path, *arguments: str, root: Path = checkout, **environment: str):
        environment.setdefault("PYTHONPATH", str(checkout))
        return run(["bash", str(root / "scripts/mm_run.sh"), *arguments], folder, **environment)

    return command


@pytest.fixture(scope="session")
def whole_run(mm_run, tmp_path_factory) -> Finished:
    """The command that people come for, on all embedded clips, run once."""
    return mm_run(tmp_path_factory.mktemp("whole"), "vocalsound_mini", "qwen2_audio_tiny")
