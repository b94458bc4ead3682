"""The end of a run: reports on the disk, a summary on the screen, the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from modeltest.errors import EXIT_INCOMPLETE, EXIT_INVALID, EXIT_OK, StorageError

if TYPE_CHECKING:
    from modeltest.records import ValidityName

    _Outcome: TypeAlias = tuple[str, ValidityName, Callable[[], None]]
    """What is shown, the verdict, and how the run is entered in the index."""

_EXIT_CODES: dict[ValidityName, int] = {
    "VALID": EXIT_OK,
    "LIMITED": EXIT_OK,
    "INVALID": EXIT_INVALID,
    "INCOMPLETE": EXIT_INCOMPLETE,
}

_ATB_BENCHMARK = "./benchmark_result/benchmark.csv"
"""Where the original tool writes unless $ATB_LLM_BENCHMARK_FILEPATH says otherwise."""


def show_outcome(run_folder: Path, add_index_line: bool = False) -> int:
    """Writes the reports of a run from its log, prints the summary.

    Args:
        run_folder: The run, of `modeltest eval` or `modeltest perf`.
        add_index_line: Enter the run in `index.csv`; rebuilding reports must not.

    Returns:
        The exit code that the verdict stands for.

    Raises:
        StorageError: The disk refused; reports that were there before are intact.
    """
    from modeltest.runlog.manifest import read_manifest

    measured = read_manifest(run_folder).get("command") == "perf"
    outcome = _sweep_outcome if measured else _accuracy_outcome
    with _reports_of(run_folder):
        shown, validity, add_to_index = outcome(run_folder)
    _say(shown)
    if add_index_line and validity != "INCOMPLETE":  # one line per run, at its end
        try:
            add_to_index()
        except OSError as error:  # the run and its reports are whole without it
            print(f"modeltest: warning: not entered in index.csv: {error}", file=sys.stderr)
    return _EXIT_CODES[validity]


def _accuracy_outcome(run_folder: Path) -> _Outcome:
    from modeltest.reports.console import path_lines, result_table, speed_line, verdict_line
    from modeltest.reports.files import add_to_index, write_reports
    from modeltest.reports.summary import summarise
    from modeltest.runlog.run_log import read_run

    run = read_run(run_folder)
    summary = summarise(run)
    paths = write_reports(run, summary)
    shown = (
        f"{verdict_line(summary)}\n\n{result_table(summary)}\n\n{speed_line(summary)}\n\n"
        f"{path_lines(paths)}"
    )
    return shown, summary.verdict.validity, partial(add_to_index, run, summary)


def _sweep_outcome(run_folder: Path) -> _Outcome:
    from modeltest.reports.console import path_lines
    from modeltest.reports.performance.console import sweep_text
    from modeltest.reports.performance.files import (
        add_sweep_to_index,
        write_atb_benchmark,
        write_performance_reports,
    )
    from modeltest.reports.performance.summary import summarise_sweep
    from modeltest.runlog.sweep_log import read_sweep

    content = read_sweep(run_folder)
    summary = summarise_sweep(content)
    paths = write_performance_reports(content, summary)
    if os.environ.get("ATB_LLM_BENCHMARK_ENABLE") == "1":
        path = Path(os.environ.get("ATB_LLM_BENCHMARK_FILEPATH") or _ATB_BENCHMARK)
        write_atb_benchmark(summary, path)
        paths = {**paths, "ATB benchmark": path}
    shown = f"{sweep_text(summary)}\n\n{path_lines(paths)}"
    return shown, summary.verdict.validity, partial(add_sweep_to_index, content, summary)


@contextmanager
def _reports_of(run_folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the reports of {run_folder} cannot be written ({error}); the log is whole: mend the "
            f"cause and run: modeltest report {run_folder}"
        ) from error


def _say(text: str) -> None:
    """Prints, and keeps the verdict's exit code when the reader of the output has gone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The interpreter flushes once more at its end, which would change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
