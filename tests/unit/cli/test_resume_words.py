"""The command that continues a run, as each launcher has to be called."""

import errno
import shlex
import signal
import sys
from pathlib import Path

import pytest

from modeltest.cli.resume_command import resumable, resume_command
from modeltest.cli.signals import Interrupted
from modeltest.errors import DataError, DeviceError, ModelError, StorageError

RUN = Path("/out/it's a run")


@pytest.fixture
def words(monkeypatch, tmp_path):
    """The printed command for a command line, as a shell reads it, without the cd."""
    monkeypatch.chdir(tmp_path)

    def read(*arguments: str, **environment: str) -> list[str]:
        for name in ("MODELTEST_LAUNCHER", "MODELTEST_LAUNCHER_SUPPLIES"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["modeltest", *arguments])
        before, _, command = resume_command(RUN).partition(" && ")
        assert shlex.split(before) == ["cd", str(tmp_path)]
        return shlex.split(command)

    return read


def test_the_command_itself(words):
    said = words("perf", "--bs", "1,2", "--resume", "old", "--resume=older")
    assert said == ["modeltest", "perf", "--bs", "1,2", "--resume", str(RUN)]


def test_a_script_that_supplies_the_command(words):
    said = words("eval", "t", "m", MODELTEST_LAUNCHER="bash mm_run.sh")
    assert said == ["bash", "mm_run.sh", "t", "m", "--resume", str(RUN)]


@pytest.mark.parametrize("own", [[], ["--passes", "3"]])
def test_a_script_that_supplies_more(words, own):
    launcher = "bash run_pa.sh --performance weights clips 8"
    supplied = ["perf", "qwen2_audio", "--bs", "1,2,4,8"]
    said = words(
        *supplied, *own, MODELTEST_LAUNCHER=launcher, MODELTEST_LAUNCHER_SUPPLIES=str(len(supplied))
    )
    assert said == [*launcher.split(), *own, "--resume", str(RUN)]


@pytest.fixture
def begun(tmp_path) -> Path:
    (tmp_path / "manifest.json").touch()
    return tmp_path


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(("code", "says"), [(0, 0), (3, 0), (4, 1), (5, 1)])
def test_a_run_that_ends_incomplete_says_how_to_continue(begun, capsys, code, says):
    assert resumable(begun, lambda: code) == code
    assert capsys.readouterr().err.count("to continue: ") == says


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (StorageError("x"), 1),
        (DeviceError("x"), 1),
        (Interrupted(signal.SIGTERM), 1),
        (Interrupted(signal.SIGINT), 1),
        (OSError(errno.ENOSPC, "x"), 1),
        (DataError("x"), 0),
        (ModelError("x"), 0),
        (ZeroDivisionError(), 0),
    ],
    ids=repr,
)
def test_what_ends_a_run_early_says_how_to_continue_where_that_helps(begun, capsys, error, says):
    with pytest.raises(type(error)):
        resumable(begun, raising(error))
    assert capsys.readouterr().err.count("to continue: ") == says


def test_before_the_manifest_there_is_nothing_to_continue(tmp_path, capsys):
    assert resumable(tmp_path, lambda: 4) == 4
    assert capsys.readouterr().err == ""
