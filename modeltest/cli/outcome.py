"""The end of a run: reports on the disk, a summary on the screen, the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from modeltest.errors import (
    EXIT_INCOMPLETE,
    EXIT_INVALID,
    EXIT_OK,
    DataError,
    ModeltestError,
    StorageError,
    UsageError,
    one_line,
)

if TYPE_CHECKING:
    from modeltest.records import ValidityName
    from modeltest.reports.page.texts import Language
    from modeltest.reports.summary import Summary
    from modeltest.runlog.run_log import RunContent

    _EnterRow: TypeAlias = Callable[[Path, Mapping[str, Any]], None]

EXIT_CODES: dict[ValidityName, int] = {
    "VALID": EXIT_OK,
    "LIMITED": EXIT_OK,
    "INVALID": EXIT_INVALID,
    "INCOMPLETE": EXIT_INCOMPLETE,
}

_LARGE_PAGE_MB = 50.0
_ATB_BENCHMARK = "./benchmark_result/benchmark.csv"
"""Where the original tool writes unless $ATB_LLM_BENCHMARK_FILEPATH says otherwise."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run stands.

    Attributes:
        shown: The summary, for a person.
        validity: The verdict's word.
        torn: Segments of the log whose last line is incomplete.
    """

    shown: str
    validity: ValidityName
    torn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """What the log says of a run, and what can be done with it.

    Attributes:
        shown: The summary, for a person, without the files.
        validity: The verdict's word.
        torn: Segments of the log whose last line is incomplete.
        write: Writes the reports; returns where they are.
        enter: Enters the run in `index.csv` by a function that takes the file and the row.
    """

    shown: str
    validity: ValidityName
    torn: tuple[str, ...]
    write: Callable[[], Mapping[str, Path]]
    enter: Callable[[_EnterRow], None]


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What was asked for of report.html; by default it is the page that the run itself writes.

    Attributes:
        language: Of the page; None leaves it to the reader's browser.
        embed_audio: Put the clips into the page.
    """

    language: Language | None = None
    embed_audio: bool = False


def show_plan(lines: Iterable[str]) -> None:
    """Says on standard error what will be done, within the terminal's width."""
    from modeltest.reports.terminal import fold, terminal_columns

    columns = terminal_columns()
    for line in lines:
        print(fold(line, columns, " " * 10), file=sys.stderr)


def show_outcome(run_folder: Path, page: PageOptions = PageOptions()) -> int:
    """Writes the reports of a run from its log, prints the summary.

    While another process works on the run, the summary is of what is known so far, and no file
    is written: that process writes them at its end, and ours might replace them by older ones.

    Returns:
        The exit code that the verdict stands for.

    Raises:
        StorageError: The disk refused; reports that were there before are intact.
    """
    from modeltest.cli.disk_space import saying_what_to_free
    from modeltest.runlog.lock import locked

    with saying_what_to_free(run_folder), ExitStack() as held:
        try:
            held.enter_context(locked(run_folder))
        except DataError as in_use:
            told = f"no file is written, the figures are those so far: {in_use}"
            print(f"modeltest: warning: {one_line(told)}", file=sys.stderr)
            outcome = _so_far(run_folder)
        else:
            outcome = write_outcome(run_folder, page=page)
    warn_of_torn(outcome.torn)
    return show(outcome)


def warn_of_torn(segments: Iterable[str]) -> None:
    """Says of which segments the last line was left out; it was never acknowledged."""
    for name in segments:
        told = f"the last line of segment {one_line(name)} is incomplete and was left out"
        print(
            f"modeltest: warning: {told}; a resumed run asks again for what it held",
            file=sys.stderr,
        )


def show(outcome: Outcome) -> int:
    """Prints the summary; returns the exit code that the verdict stands for."""
    say(outcome.shown)
    return EXIT_CODES[outcome.validity]


def show_markdown(run_folder: Path) -> int:
    """Prints a run as a block of Markdown and writes nothing; returns the verdict's exit code."""
    from modeltest.reports.run import open_run
    from modeltest.runlog.lock import is_locked

    run = open_run(run_folder)
    if not is_locked(run_folder):  # whoever works on the run may be writing that line
        warn_of_torn(run.torn)
    say(run.markdown())
    return EXIT_CODES[run.verdict.validity]


def write_outcome(
    run_folder: Path, add_index_line: bool = False, page: PageOptions = PageOptions()
) -> Outcome:
    """Writes the reports of a run from its log.

    Args:
        run_folder: The run, of `modeltest eval` or `modeltest perf`.
        add_index_line: Enter the run in `index.csv`, also where this fails; rebuilding reports
            must not, it only corrects a line that has another verdict.
        page: What is wanted of report.html.

    Raises:
        StorageError: The disk refused; reports that were there before are intact.
    """
    from modeltest.reports.console import path_lines
    from modeltest.reports.index import append_row, correct_row

    known_of = _kind_of(run_folder)
    indexed = indexed_if_it_fails(run_folder) if add_index_line else nullcontext()
    with indexed, _reports_of(run_folder):
        known = known_of(run_folder, page)
        paths = known.write()
    _enter(partial(known.enter, append_row if add_index_line else correct_row))
    return Outcome(f"{known.shown}\n\n{path_lines(paths)}", known.validity, known.torn)


def _so_far(run_folder: Path) -> Outcome:
    """How a run stands that another process works on; nothing is written.

    That a line of its log is incomplete says nothing: it may be being written.
    """
    from modeltest.reports.console import path_lines
    from modeltest.runlog.layout import LOG_FOLDER

    known = _kind_of(run_folder)(run_folder, PageOptions())
    where = path_lines({"run": run_folder, "log": run_folder / LOG_FOLDER})
    return Outcome(f"{known.shown}\n\n{where}", known.validity)


def _kind_of(run_folder: Path) -> Callable[[Path, PageOptions], _Known]:
    from modeltest.runlog.manifest import read_manifest

    measured = read_manifest(run_folder).get("command") == "perf"
    return _known_sweep if measured else _known_accuracy


@contextmanager
def indexed_if_it_fails(run_folder: Path) -> Iterator[None]:
    """Where work on a run does not end, says so in `index.csv`; what ended it is raised on.

    A run is entered again, in that line's place, when it was continued to its end.
    """
    try:
        yield
    except BaseException as error:
        _enter(partial(_enter_as_incomplete, run_folder, _what_ended_it(error)))
        raise


def _enter_as_incomplete(run_folder: Path, reason: str) -> None:
    from modeltest.reports.index import append_row, incomplete_row
    from modeltest.runlog.manifest import read_manifest

    append_row(*incomplete_row(read_manifest(run_folder), run_folder, reason))


def _what_ended_it(error: BaseException) -> str:
    from modeltest.cli.signals import Interrupted

    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return f"interrupted by {str(error) or 'SIGINT'}"
    return str(error) if isinstance(error, ModeltestError) else f"{type(error).__name__}: {error}"


def _enter(add_to_index: Callable[[], None]) -> None:
    """Enters a run in the index; the run and its reports are whole without it."""
    try:
        add_to_index()
    except (OSError, ModeltestError) as error:
        why = one_line(str(error))
        print(f"modeltest: warning: not entered in index.csv: {why}", file=sys.stderr)


def _known_accuracy(run_folder: Path, page: PageOptions) -> _Known:
    from modeltest.cli.embedded_clips import embedded_clips
    from modeltest.reports.files import add_to_index, write_reports
    from modeltest.reports.page.choice import PageChoice
    from modeltest.reports.summary import summarise
    from modeltest.runlog.run_log import read_run

    run = read_run(run_folder)
    summary = summarise(run)

    def write() -> Mapping[str, Path]:
        clips = embedded_clips(run) if page.embed_audio else None
        paths = write_reports(run, summary, PageChoice(page.language, clips))
        _warn_of_size(paths["report"])
        return paths

    enter = partial(add_to_index, run, summary)
    return _Known(_accuracy_text(run, summary), summary.verdict.validity, run.torn, write, enter)


def _accuracy_text(run: RunContent, summary: Summary) -> str:
    from modeltest.reports.console import method_line, result_table, speed_line, verdict_line
    from modeltest.reports.published import published_lines
    from modeltest.reports.terminal import fold, terminal_columns

    columns = terminal_columns()
    published = [fold(line, columns, "    ") for line in published_lines(run.manifest).splitlines()]
    return "\n\n".join(
        [
            verdict_line(summary, columns),
            result_table(summary),
            f"{fold(method_line(summary), columns)}\n{fold(speed_line(summary), columns)}",
            *(["\n".join(published)] if published else []),
        ]
    )


def _warn_of_size(page: Path) -> None:
    size_mb = page.stat().st_size / 1e6
    if size_mb > _LARGE_PAGE_MB:
        said = f"{page.name} has {size_mb:.0f} MB; a browser may be slow to open it"
        print(f"modeltest: warning: {said}", file=sys.stderr)


def _known_sweep(run_folder: Path, page: PageOptions) -> _Known:
    from modeltest.reports.performance.console import sweep_text
    from modeltest.reports.performance.files import (
        add_sweep_to_index,
        write_atb_benchmark,
        write_performance_reports,
    )
    from modeltest.reports.performance.summary import summarise_sweep
    from modeltest.reports.terminal import terminal_columns
    from modeltest.runlog.sweep_log import read_sweep

    if page.embed_audio:
        raise UsageError(
            "--embed-audio: a measurement of speed has no table of samples; leave it out"
        )
    content = read_sweep(run_folder)
    summary = summarise_sweep(content)

    def write() -> Mapping[str, Path]:
        paths = write_performance_reports(content, summary, page.language)
        if os.environ.get("ATB_LLM_BENCHMARK_ENABLE") == "1":
            path = Path(os.environ.get("ATB_LLM_BENCHMARK_FILEPATH") or _ATB_BENCHMARK)
            write_atb_benchmark(summary, path)
            paths = {**paths, "ATB benchmark": path}
        return paths

    text = sweep_text(summary, terminal_columns())
    enter = partial(add_sweep_to_index, content, summary)
    return _Known(text, summary.verdict.validity, content.torn, write, enter)


@contextmanager
def _reports_of(run_folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the reports of {run_folder} cannot be written ({error}); the log is whole: mend the "
            f"cause and run: modeltest report {run_folder}"
        ) from error


def say(text: str) -> None:
    """Prints, and keeps the verdict's exit code when the reader of the output has gone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The interpreter flushes once more at its end, which would change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
