"""Canaries: whole commands in child processes that must not do what a data file wants."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# Placed in a child by `sitecustomize`. Audit hooks see what C extensions of Python do too,
# and cannot be taken away by the code that they watch.
_WATCH = """
import os, socket, sys

def _hook(event, arguments):
    if event in ("socket.bind", "socket.listen") and arguments[0].family != socket.AF_UNIX:
        _note(event, arguments[1:])
        raise OSError("no servers here")
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        local = hasattr(arguments[0], "family") and arguments[0].family == socket.AF_UNIX
        if not local:
            _note(event, arguments[1:] if hasattr(arguments[0], "family") else arguments)
            raise OSError("no network here")
    if event in ("os.system", "pickle.find_class"):
        _note(event, arguments)

def _note(event, arguments):
    descriptor = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{event} {arguments!r}\\n".encode("utf-8", "backslashreplace"))
    os.close(descriptor)

sys.addaudithook(_hook)
"""


@dataclass(frozen=True)
class Finished:
    """A command that ended.

    Attributes:
        code: Exit code.
        out: Standard output.
        err: Standard error.
        seen: What the audit hook saw: network, servers, os.system and unpickling.
    """

    code: int
    out: str
    err: str
    seen: str

    def one_line_error(self) -> str:
        """The message of a refusal; fails unless it is one line and exit code 2 or 5."""
        assert self.code in {2, 5}, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("modeltest: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture(scope="session")
def checkout(project, tmp_path_factory) -> Path:
    """The project without a developer's local changes, which would make runs INVALID."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in ("modeltest", "config", "scripts"):
        shutil.copytree(project / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def command(checkout, tmp_path) -> Callable[..., Finished]:
    """`modeltest ARGUMENTS` in the test's folder, watched."""
    hook = tmp_path / ".watch"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_WATCH)
    witness = tmp_path / ".witness"

    def run(*arguments: str, flags: tuple[str, ...] = (), seconds: float = 60, **environment: str):
        done = subprocess.run(
            [sys.executable, *flags, "-m", "modeltest", *arguments],
            cwd=tmp_path,
            capture_output=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": f"{hook}{os.pathsep}{checkout}",
                "WITNESS": str(witness),
                **environment,
            },
        )
        seen = witness.read_text() if witness.exists() else ""
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode(), seen)

    return run


@pytest.fixture
def here(tmp_path, monkeypatch, capsys) -> Callable[..., Finished]:
    """`modeltest ARGUMENTS` in the test's folder and in this process: quick, and not watched."""
    from modeltest.cli.main import main

    def run(*arguments: str) -> Finished:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["modeltest", *arguments])
        capsys.readouterr()
        code = main(arguments)
        return Finished(code, *capsys.readouterr(), "")

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")  # the command sets them; here they are put back
    return run


@pytest.fixture
def own_model(tiny_model, tmp_path) -> Path:
    """A copy of the embedded model to put canaries into."""
    return Path(shutil.copytree(tiny_model, tmp_path / "checkpoint"))


@pytest.fixture
def run_folder(tmp_path) -> Callable[[], Path]:
    """The only run below the test's folder."""

    def find() -> Path:
        [folder] = tmp_path.glob("outputs/*/modeltest/*/precision_result/runs/*")
        return folder

    return find
