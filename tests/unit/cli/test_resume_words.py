"""The command that continues a run, as each launcher has to be called."""

import shlex
import sys
from pathlib import Path

import pytest

from modeltest.cli.resume_command import resume_command

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
