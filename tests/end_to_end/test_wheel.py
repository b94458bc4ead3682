"""The wheel in a clean environment, from another directory."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def environment(project, tmp_path_factory) -> Path:
    """A new environment with the wheel, what it depends on, and the scripts' torch."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(project)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = folder.glob("modeltest-*.whl")
    script = (project / "scripts" / "environment.sh").read_text(encoding="utf-8")
    torch = re.search(r'TORCH_FOR_CPU="(.+)"', script)
    assert torch is not None
    venv.create(folder / "env", with_pip=True)
    pip = [folder / "env/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for what in (torch[1], wheel):
        # Compiling all of torch takes longer than what is imported of it.
        install = [*pip, "install", "--no-compile", what]
        subprocess.run(install, check=True, capture_output=True)
    return folder / "env"


def run(environment: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [environment / "bin" / "modeltest", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
def test_the_wheel_evaluates(environment, tmp_path):
    done = run(environment, tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--limit", "4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("LIMITED: 4 of 120 samples")
    assert str(environment) in done.stderr  # the model is the wheel's, not the checkout's


def test_the_wheel_knows_the_shipped_settings(environment):
    listed = run(environment, Path("/"), "list", "tasks")
    assert listed.returncode == 0
    assert "vocalsound_chat" in listed.stdout
