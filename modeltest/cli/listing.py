"""`modeltest list`: the models, tasks and runs that there are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.cli.options import add_config_dir
from modeltest.errors import EXIT_OK

if TYPE_CHECKING:
    from modeltest.settings.paths import Kind

HELP = "list models, tasks or runs"
_LONGEST_COMMENT = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("models", "tasks", "runs"),
        help="what to list (default: models and tasks)",
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
    from modeltest.errors import one_line
    from modeltest.settings.paths import find_file, known_names

    names = known_names(kind, config_dir)
    if heading:
        print(f"{kind}s:")
    width = max(len(name) for name in names)
    for name in names:
        comment = _first_comment(find_file(kind, name, config_dir))
        print(f"{'  ' if heading else ''}{one_line(name):<{width}}  {comment}")


def _first_comment(path: Path) -> str:
    """The first sentence of the comment that a settings file begins with."""
    from modeltest.errors import one_line

    if not path.is_file():  # a FIFO would block
        return "(not a readable file)"
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = file.read(_LONGEST_COMMENT).splitlines()
    comment = " ".join(line[1:].strip() for line in takewhile(lambda s: s.startswith("#"), lines))
    return one_line(comment.partition(". ")[0].rstrip("."))


def _print_runs(output_dir: Path) -> None:
    from tabulate import tabulate

    rows = list(_runs(output_dir))[::-1]
    if not rows:
        print(f"no runs below {output_dir}", file=sys.stderr)
        return
    headers = ("started", "run", "task", "model", "acc %", "state", "done", "folder")
    print(tabulate(rows, headers, tablefmt="simple", disable_numparse=True))


def _runs(output_dir: Path) -> Iterator[tuple[str, ...]]:
    from modeltest.errors import DataError, one_line
    from modeltest.runlog.find import run_folders
    from modeltest.runlog.lock import is_locked
    from modeltest.runlog.manifest import read_manifest

    for folder in run_folders(output_dir):
        try:
            manifest = read_manifest(folder)
            of_sweep = manifest.get("command") == "perf"
            accuracy, state, done = (_sweep_cells if of_sweep else _accuracy_cells)(folder)
        except DataError as error:
            print(f"warning: {one_line(str(error))}", file=sys.stderr)
            continue
        row = (
            manifest["started"],
            manifest["place"]["run_id"],
            "perf" if of_sweep else manifest["task"]["name"],
            manifest["model"]["name"],
            accuracy,
            "running" if is_locked(folder) else state,
            done,
            folder,
        )
        yield tuple(one_line(str(cell)) for cell in row)


def _accuracy_cells(folder: Path) -> tuple[str, str, str]:
    """Accuracy or what stands in its place, state and how much is done."""
    from modeltest.reports.console import percent
    from modeltest.reports.summary import summarise
    from modeltest.runlog.run_log import read_run

    summary = summarise(read_run(folder))
    metric, headline = summary.headline
    value = percent(headline)
    return (
        value if metric == "acc" else f"{metric} {value}",
        summary.verdict.validity,
        f"{summary.num_done}/{summary.num_planned}",
    )


def _sweep_cells(folder: Path) -> tuple[str, str, str]:
    """No accuracy, state and how many blocks are done."""
    from modeltest.reports.performance.summary import summarise_sweep
    from modeltest.runlog.sweep_log import read_sweep

    content = read_sweep(folder)
    sweep = content.manifest["sweep"]
    num_blocks = len(sweep["batch_sizes"]) * len(sweep["modes"]) * sweep["num_passes"]
    state = summarise_sweep(content).verdict.validity
    return "-", state, f"{len(content.blocks)}/{num_blocks}"
