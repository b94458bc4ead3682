"""The same under `python -O`, which leaves every `assert` statement out.

pytest rewrites the asserts of test modules to ordinary code before Python compiles them, so
tests still check under -O; the first test proves it. `test_banned_code` proves that modeltest
itself has none. The release gate runs all of tests/unit this way.
"""

import os
import subprocess
import sys

import pytest

ENVIRONMENT = {**os.environ, "PYTHONOPTIMIZE": "1"}


def optimized_pytest(project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-O", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


def test_asserts_of_tests_still_check(project, tmp_path):
    (tmp_path / "test_canary.py").write_text(
        "import sys\n"
        "def test_flag():\n    assert sys.flags.optimize == 1\n"
        "def test_false():\n    assert False\n"
    )
    done = optimized_pytest(project, f"--rootdir={tmp_path}", str(tmp_path / "test_canary.py"))
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.skipif(sys.flags.optimize > 0, reason="this is the run under -O")
def test_refusals_hold(project):
    """What refuses files of others, in one process; children inherit the flag."""
    done = optimized_pytest(
        project,
        "tests/unit/settings",
        "tests/unit/runlog",
        "tests/security/test_model_files.py",
        "tests/security/test_settings_files.py",
        "-k", "not kernel and not pickle and not blocks and not imported and not secret",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


def test_a_run_and_its_refusals_are_those_of_any_run(command, tmp_path):
    plain = command("eval", "vocalsound_mini", "null", "--limit", "3")
    fast = command("eval", "vocalsound_mini", "null", "--limit", "3", flags=("-O",))
    assert (plain.code, fast.code) == (0, 0), fast.err

    def table(text: str) -> list[str]:
        return [line for line in text.splitlines() if "%" in line or line.startswith("all")]

    assert table(plain.out) == table(fast.out)
    command("eval", "nonsense", "null", flags=("-O",)).one_line_error()
