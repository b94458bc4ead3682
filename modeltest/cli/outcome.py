"""The end of a run: reports on the disk, a summary on the screen, the exit code."""

from __future__ import annotations

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
        if add_index_line:
            add_to_index(run, summary)
    except OSError as error:
        raise StorageError(
            f"the reports of {run_folder} cannot be written ({error}); the log is whole: mend the "
            f"cause and run: modeltest report {run_folder}"
        ) from error
    print(verdict_line(summary))
    print(f"\n{result_table(summary)}\n\n{speed_line(summary)}\n\n{path_lines(paths)}")
    return _EXIT_CODES[summary.verdict.validity]
