"""`modeltest list`: the models, tasks and runs that there are."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.cli.options import add_config_dir
from modeltest.errors import EXIT_OK, one_line

if TYPE_CHECKING:
    from modeltest.reports.run import Run
    from modeltest.runlog.parity_check import ParityCheck
    from modeltest.settings.paths import Kind

HELP = "list models, tasks or runs"
_LONGEST_COMMENT = 4096
_MOST_COMMANDS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("models", "tasks", "runs"),
        help="what to list; runs: of eval, perf and parity, newest first (default: models and "
        "tasks)",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where runs are"
    )
    add_config_dir(parser)


def execute(options: argparse.Namespace) -> int:
    """Prints one line per thing."""
    kinds: tuple[Kind, ...] = ("model", "task")
    for kind in kinds:
        if options.what in (None, f"{kind}s"):
            _print_names(kind, options.config_dir, heading=options.what is None)
    if options.what == "runs":
        _print_runs(options.output_dir)
    return EXIT_OK


def _print_names(kind: Kind, config_dir: Path | None, heading: bool) -> None:
    from modeltest.reports.terminal import fold, terminal_columns
    from modeltest.settings.paths import find_file, known_names

    names = known_names(kind, config_dir)
    if heading:
        print(f"{kind}s:")
    width, columns = max(len(name) for name in names), terminal_columns()
    indent = " " * (width + (4 if heading else 2))
    for name in names:
        comment = _first_comment(find_file(kind, name, config_dir))
        line = f"{'  ' if heading else ''}{one_line(name):<{width}}  {comment}"
        print(fold(line, columns, indent))


def _first_comment(path: Path) -> str:
    """The first sentence of the comment that a settings file begins with."""
    if not path.is_file():  # a FIFO would block
        return "(not a readable file)"
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = file.read(_LONGEST_COMMENT).splitlines()
    comment = " ".join(line[1:].strip() for line in takewhile(lambda s: s.startswith("#"), lines))
    return one_line(comment.partition(". ")[0].rstrip("."))


def _print_runs(output_dir: Path) -> None:
    from modeltest.reports.terminal import terminal_columns

    runs = list(_runs(output_dir))[::-1]
    if not runs:
        print(f"no runs below {one_line(str(output_dir))}", file=sys.stderr)
        return
    print(runs_table(runs, terminal_columns()))
    unfinished = [run for run in runs if run.to_continue]
    for run in unfinished[:_MOST_COMMANDS]:
        print(f"to continue {run.run_id}: {run.to_continue}", file=sys.stderr)
    if len(unfinished) > _MOST_COMMANDS:
        more = len(unfinished) - _MOST_COMMANDS
        print(f"and {more} more that can be continued", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in words, printable.

    Attributes:
        started: Local date and time, to the minute.
        run_id: Its id.
        task: The task's name, or `perf` or `parity`.
        model: The model's name.
        device: `NPU`, `GPU`, `CPU` or `SERVICE`.
        headline: The one number that stands for it, with its interval.
        state: The verdict's word, or `running`; of parity `PASS` or `FAIL`.
        done: Samples or blocks that are done, of all.
        folder: Where it lies.
        to_continue: The command that continues it; empty where there is nothing to continue.
    """

    started: str
    run_id: str
    task: str
    model: str
    device: str
    headline: str
    state: str
    done: str
    folder: str
    to_continue: str


def runs_table(runs: Sequence[ListedRun], columns: int | None) -> str:
    """The runs, a line each; on a terminal that is too narrow for that, with further lines.

    Args:
        runs: In the order of the table.
        columns: Cells of a line; None is as many as it takes.
    """
    from modeltest.reports.terminal import cells, fold, table

    first = [(run.started, run.run_id, run.state, run.done, run.headline) for run in runs]
    headers = ("started", "run", "state", "done", "headline")
    rest = [(run.task, run.model, run.device, run.folder) for run in runs]
    whole = [(*a, *b) for a, b in zip(first, rest, strict=True)]
    names = (*headers, "task", "model", "device", "folder")
    left = set(range(len(names))) - {headers.index("done")}
    one_each = table([names], whole, left, columns)
    if columns is None or max(map(cells, one_each.splitlines())) <= columns:
        return one_each
    lines = table([headers], first, left, columns).splitlines()
    shown = lines[:2]
    for line, run in zip(lines[2:], runs, strict=True):
        what = f"  {run.task} · {run.model} · {run.device}"
        where = fold(f"  {run.folder}", columns, "    ", at_slashes=True)
        shown += [fold(line, columns, "  "), fold(what, columns, "    "), where]
    return "\n".join(shown)


def _runs(output_dir: Path) -> Iterator[ListedRun]:
    from modeltest.errors import DataError
    from modeltest.reports.run import open_run
    from modeltest.runlog.find import run_folders
    from modeltest.runlog.layout import MANIFEST_NAME
    from modeltest.runlog.lock import is_locked
    from modeltest.runlog.parity_check import read_parity

    for folder in run_folders(output_dir, with_parity=True):
        try:
            if os.path.lexists(folder / MANIFEST_NAME):
                yield listed(open_run(folder), is_locked(folder))
            else:
                yield listed_parity(read_parity(folder))
        except DataError as error:
            print(f"warning: {one_line(str(error))}", file=sys.stderr)


def listed(run: Run, is_running: bool) -> ListedRun:
    """A run in words.

    Args:
        run: As its log has it now.
        is_running: Whether a process works on it.
    """
    manifest = run.manifest
    task = manifest["task"]["name"] if run.command == "eval" else "perf"
    state = "running" if is_running else run.verdict.validity
    return ListedRun(
        started=_to_the_minute(str(manifest["started"])),
        run_id=one_line(run.run_id),
        task=one_line(task),
        model=one_line(manifest["model"]["name"]),
        device=one_line(run.device),
        headline=run.headline.in_short,
        state=state,
        done=f"{run.num_done}/{run.num_planned}",
        folder=one_line(str(run.folder)),
        to_continue=_to_continue(run) if state == "INCOMPLETE" else "",
    )


def listed_parity(check: ParityCheck) -> ListedRun:
    """A check of `modeltest parity` in words; it ends whole or leaves nothing to continue."""
    is_counted = check.num_outside is not None
    return ListedRun(
        started=_to_the_minute(check.started),
        run_id=one_line(check.folder.name),
        task="parity",
        model=one_line(check.model),
        device=one_line(check.device),
        headline=f"{check.num_outside} of {check.num_stages} stages outside" if is_counted else "-",
        state=check.outcome,
        done=f"{check.num_samples - check.num_failed}/{check.num_samples}",
        folder=one_line(str(check.folder)),
        to_continue="",
    )


def _to_the_minute(started: str) -> str:
    return one_line(started[:16].replace("T", " "))


def _to_continue(run: Run) -> str:
    from modeltest.reports.command_line import begun_with, joined

    words = begun_with(run.manifest)
    if not words:
        return f"the command that began it, with --resume {run.run_id}"
    there = run.manifest.get("working_directory")
    begin = f"cd {joined([there])} && " if isinstance(there, str) else ""
    return f"{begin}{joined(words)} --resume {joined([run.run_id])}"
