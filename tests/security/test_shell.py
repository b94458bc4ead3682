"""The scripts pass what they are given as it is; nothing in it is run."""

import os
import shutil
import subprocess
import sys

import pytest

HOSTILE = [
    "$(touch CANARY)", "`touch CANARY`", "; touch CANARY", "&& touch CANARY", "| touch CANARY",
    "a\ntouch CANARY", "> CANARY", "'; touch CANARY; '", '"; touch CANARY; "', "*", "~", "${IFS}",
    "$((1+1))", "a\\", "",
]  # fmt: skip


def canaries(folder):
    return list(folder.rglob("CANARY"))


@pytest.fixture
def echoing_python(tmp_path, project):
    """Stands in for Python: knows modeltest, and writes down what it is called with."""
    path = tmp_path / "a 'python' $(touch CANARY)"
    path.write_text(
        "#!/bin/bash\n"
        'for argument; do printf "%s\\0" "$argument"; done >"$ARGUMENTS"\n'
        'printf "%s" "$MODELTEST_LAUNCHER" >"$ARGUMENTS.launcher"\n'
    )
    path.chmod(0o755)
    return path


def test_arguments_reach_the_command_unchanged(project, tmp_path, echoing_python):
    root = tmp_path / 'it\'s a "root" $(touch CANARY); x'
    shutil.copytree(project / "scripts", root / "scripts")
    work = tmp_path / "work"
    work.mkdir()
    arguments = ["task $(touch CANARY)", "model;touch CANARY", *HOSTILE]
    environment = {
        **os.environ,
        "MODELTEST_PYTHON": str(echoing_python),
        "ARGUMENTS": str(tmp_path / "arguments"),
    }
    done = subprocess.run(
        ["bash", str(root / "scripts" / "mm_run.sh"), *arguments],
        cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    passed = (tmp_path / "arguments").read_text().split("\0")[:-1]
    assert passed[passed.index("eval") + 1 :] == [*arguments, "--tp", "auto"]
    launcher = (tmp_path / "arguments.launcher").read_text()
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {launcher}"], capture_output=True, text=True, check=True
    )
    assert words.stdout.split("\0")[:-1] == ["bash", str(root / "scripts" / "mm_run.sh")]
    assert canaries(tmp_path) == []


@pytest.mark.parametrize(
    "variables",
    [
        {"MODELTEST_PYTHON": "python3; touch CANARY"},
        {"MODELTEST_PYTHON": "$(touch CANARY)"},
        {"MODELTEST_PYTHON": "-c"},
    ],
)
def test_variables_are_not_run(project, tmp_path, variables):
    done = subprocess.run(
        ["bash", str(project / "scripts" / "mm_run.sh"), "vocalsound_mini", "null"],
        cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "was not found" in done.stderr
    assert canaries(tmp_path) == []


@pytest.mark.parametrize("option", HOSTILE)
def test_the_test_script_runs_no_option(project, tmp_path, option):
    done = subprocess.run(
        ["bash", str(project / "scripts" / "test.sh"), option],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "unknown option" in done.stderr
    assert canaries(tmp_path) == []
    assert not (project / "CANARY").exists()


def test_the_working_directory_brings_no_modules(checkout, tmp_path):
    """Users stand in folders that they were given; a `json.py` there is not ours."""
    names = ("json", "modeltest", "yaml", "soundfile", "numpy", "torch", "librosa", "sitecustomize")
    for name in names:
        (tmp_path / f"{name}.py").write_text("open('CANARY', 'w')\n")
    script = str(checkout / "scripts" / "mm_run.sh")
    done = subprocess.run(
        ["bash", script, "vocalsound_mini", "null", "--limit", "2"],
        cwd=tmp_path,
        env={**os.environ, "MODELTEST_PYTHON": sys.executable, "PYTHONPATH": str(checkout)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert canaries(tmp_path) == []


def test_shellcheck_has_nothing_to_say(project):
    if shutil.which("shellcheck") is None:
        pytest.fail("shellcheck is missing; install it (apt-get install shellcheck)")
    scripts = sorted(map(str, [*project.glob("scripts/*.sh"), project / ".ci" / "run"]))
    done = subprocess.run(
        ["shellcheck", "--external-sources", *scripts],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
