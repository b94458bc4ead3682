"""The end of a run: reports on the disk, a summary on the screen, the exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.errors import EXIT_INCOMPLETE, EXIT_INVALID, EXIT_OK, StorageError

if TYPE_CHECKING:
    from modeltest.records import ValidityName

_EXIT_CODES: dict[ValidityName, int] = {
    "VALID": EXIT_OK,
    "LIMITED": EXIT_OK,
    "INVALID": EXIT_INVALID,
    "INCOMPLETE": EXIT_INCOMPLETE,
}


def show_outcome(run_folder: Path, add_index_line: bool = False) -> int:
    """Writes the reports of a run from its log, prints the summary.

    Args:
        run_folder: The run.
        add_index_line: Enter the run in `index.csv`; rebuilding reports must not.

    Returns:
        The exit code that the verdict stands for.

    Raises:
        StorageError: The disk refused; reports that were there before are intact.
    """
    from modeltest.reports.console import path_lines, result_table, speed_line, verdict_line
    from modeltest.reports.files import add_to_index, write_reports
    from modeltest.reports.summary import summarise
    from modeltest.runlog.run_log import read_run

    run = read_run(run_folder)
    summary = summarise(run)
    try:
        paths = write_reports(run, summary)
    except OSError as error:
        raise StorageError(
            f"the reports of {run_folder} cannot be written ({error}); the log is whole: mend the "
            f"cause and run: modeltest report {run_folder}"
        ) from error
    _say(
        f"{verdict_line(summary)}\n\n{result_table(summary)}\n\n{speed_line(summary)}\n\n"
        f"{path_lines(paths)}"
    )
    if add_index_line and summary.verdict.validity != "INCOMPLETE":  # one line per run, at its end
        try:
            add_to_index(run, summary)
        except OSError as error:  # the run and its reports are whole without it
            print(f"modeltest: warning: not entered in index.csv: {error}", file=sys.stderr)
    return _EXIT_CODES[summary.verdict.validity]


def _say(text: str) -> None:
    """Prints, and keeps the verdict's exit code when the reader of the output has gone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The interpreter flushes once more at its end, which would change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
