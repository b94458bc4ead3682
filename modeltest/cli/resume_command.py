"""The exact command that continues a run."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from modeltest.errors import one_line

LAUNCHER_VARIABLE = "MODELTEST_LAUNCHER"


def resume_command(run_folder: Path) -> str:
    """This process's command line with `--resume`, from this working directory.

    Scripts that start modeltest name themselves in `$MODELTEST_LAUNCHER`.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    arguments = _without_resume(sys.argv[1:])
    if launcher:
        command = f"{launcher} {_joined(arguments[1:])}"  # the script supplies `eval`
    elif Path(sys.argv[0]).name == "__main__.py":
        command = _joined([sys.executable, "-m", "modeltest", *arguments])
    else:
        command = _joined([sys.argv[0], *arguments])
    return f"cd {_joined([os.getcwd()])} && {command} --resume {_joined([str(run_folder)])}"


def _joined(words: list[str]) -> str:
    """Words as a shell reads them; what could steer a terminal as escapes of `$'…'`."""
    return " ".join(
        shlex.quote(word)
        if word.isprintable()
        else "$'" + one_line(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"
        for word in words
    )


def _without_resume(arguments: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--resume":
            skip = True
        elif not argument.startswith("--resume="):
            kept.append(argument)
    return kept
