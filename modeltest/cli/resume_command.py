"""The exact command that continues a run, and when it is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from modeltest.cli.signals import last_words, signals_first
from modeltest.errors import (
    EXIT_BUG,
    EXIT_DEVICE,
    EXIT_INCOMPLETE,
    EXIT_SIGINT,
    EXIT_SIGTERM,
)
from modeltest.reports.command_line import joined, without_option

LAUNCHER_VARIABLE = "MODELTEST_LAUNCHER"
SUPPLIED_VARIABLE = "MODELTEST_LAUNCHER_SUPPLIES"
_CAN_CONTINUE = (EXIT_INCOMPLETE, EXIT_DEVICE, EXIT_SIGINT, EXIT_SIGTERM)


def resumable(run_folder: Path, work: Callable[[], int]) -> int:
    """Works on a run; where that leaves it to be continued, says how.

    Args:
        run_folder: The run; before its manifest is there, there is nothing to continue.
        work: Evaluates or measures, and reports.

    Returns:
        The exit code of `work`; what it raises is raised here.
    """
    from modeltest.runlog.layout import MANIFEST_NAME

    to_continue = f"to continue: {resume_command(run_folder)}"
    code = EXIT_BUG
    with last_words(to_continue):  # until it is printed: a second signal ends this at once
        try:
            with signals_first():
                code = work()
        except BaseException as error:
            of_disk = EXIT_DEVICE if isinstance(error, OSError) else EXIT_BUG
            code = getattr(error, "exit_code", of_disk)
            raise
        finally:
            if code in _CAN_CONTINUE and (run_folder / MANIFEST_NAME).is_file():
                print(to_continue, file=sys.stderr)
    return code


def resume_command(run_folder: Path) -> str:
    """This process's command line with `--resume`, from this working directory.

    Scripts that start modeltest say in `$MODELTEST_LAUNCHER` how they were started, and in
    `$MODELTEST_LAUNCHER_SUPPLIES` how many of the first words they supply themselves: one, the
    command, where that is left out.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    arguments = without_option(sys.argv[1:], "--resume")
    if launcher:
        supplied = os.environ.get(SUPPLIED_VARIABLE, "")
        rest = arguments[int(supplied) if supplied.isdecimal() else 1 :]
        command = " ".join([launcher, *([joined(rest)] if rest else [])])
    elif Path(sys.argv[0]).name == "__main__.py":
        command = joined([sys.executable, "-m", "modeltest", *arguments])
    else:
        command = joined([sys.argv[0], *arguments])
    return f"cd {joined([os.getcwd()])} && {command} --resume {joined([str(run_folder)])}"
