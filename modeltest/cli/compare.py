"""`modeltest compare`: is run B as accurate, or as fast, as run A; do transcripts say the same?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modeltest.cli.options import add_language
from modeltest.errors import EXIT_INCOMPLETE, EXIT_INVALID, EXIT_OK, UsageError, one_line

if TYPE_CHECKING:
    from modeltest.metrics.paired import Outcome
    from modeltest.reports.performance.summary import SweepSummary
    from modeltest.reports.summary import Summary
    from modeltest.runlog.run_log import RunContent
    from modeltest.runlog.sweep_log import SweepContent

HELP = "compare run B with run A: PASS, FAIL or INCONCLUSIVE; of transcripts, their agreement"

Kind = Literal["accuracy", "performance", "transcription"]

_EXIT_CODES: dict[Outcome, int] = {
    "PASS": EXIT_OK,
    "FAIL": EXIT_INVALID,
    "INCONCLUSIVE": EXIT_INCOMPLETE,
}
_TOLERANCE_PERCENT = 5.0
_MARGIN_POINTS = 1.0
_ONLY_FOR: Mapping[str, Kind] = {
    "margin": "accuracy",
    "other_model": "accuracy",
    "tolerance": "performance",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "first", metavar="RUN_A", nargs="?", help="the reference: a run's folder or id"
    )
    parser.add_argument(
        "second", metavar="RUN_B", nargs="?", help="a run's folder or id, or 'last'"
    )
    parser.add_argument(
        "--margin",
        type=_points,
        metavar="POINTS",
        help="how much less accurate B may be, in percentage points "
        f"(default: {_MARGIN_POINTS:g}; accuracy runs)",
    )
    parser.add_argument(
        "--other-model",
        action="store_true",
        help="B may be another model, fine-tuned or quantised (accuracy runs)",
    )
    parser.add_argument(
        "--tolerance",
        type=_percent,
        metavar="PERCENT",
        help=f"how much slower B may be (default: {_TOLERANCE_PERCENT:g}; performance runs)",
    )
    parser.add_argument(
        "--power",
        action="store_true",
        help="instead of comparing runs, print how many samples a margin needs",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where runs are"
    )
    add_language(parser, "compare.html")


def execute(options: argparse.Namespace) -> int:
    """Compares two runs of one kind.

    Returns:
        0 for PASS, 3 for FAIL, 4 for INCONCLUSIVE. Of transcripts 0: their agreement is a
        figure and no verdict.
    """
    if options.power:
        return _power(options)
    if options.second is None:
        raise UsageError("give two runs, RUN_A and RUN_B: folders, run ids or 'last'")
    from modeltest.runlog.find import find_run

    folders = [find_run(name, options.output_dir) for name in (options.first, options.second)]
    kind, other = map(_kind_of, folders)
    if kind != other:
        raise UsageError(
            f"compares two runs of one kind; {folders[0]} is one of {kind}, "
            f"{folders[1]} one of {other}"
        )
    _refuse_options_of_others(options, kind)
    if kind == "transcription":
        return _transcripts(folders, options)
    if kind == "performance":
        return _sweeps(folders, options)
    return _accuracy(folders, options)


def _power(options: argparse.Namespace) -> int:
    from modeltest.reports.comparison.power_text import MARGINS, power_text

    if any(_is_given(options, name) for name in ("first", "other_model", "tolerance", "lang")):
        raise UsageError("--power compares no runs; give it alone or with --margin")
    print(power_text(MARGINS if options.margin is None else (options.margin / 100,)))
    return EXIT_OK


def _accuracy(folders: Sequence[Path], options: argparse.Namespace) -> int:
    from modeltest.reports.comparison.accuracy import compare_accuracy
    from modeltest.reports.comparison.accuracy_files import write_comparison
    from modeltest.reports.comparison.accuracy_text import accuracy_text
    from modeltest.reports.console import path_lines
    from modeltest.reports.terminal import terminal_columns
    from modeltest.runlog.layout import check_writable

    check_writable(options.output_dir)
    margin = _MARGIN_POINTS if options.margin is None else options.margin
    first, second = map(_evaluation, folders)
    comparison = compare_accuracy(first, second, margin / 100, options.other_model)
    print(accuracy_text(comparison, terminal_columns()))
    paths = write_comparison(comparison, (first[0], second[0]), options.output_dir, options.lang)
    print(f"\n{path_lines(paths)}")
    return _EXIT_CODES[comparison.outcome]


def _sweeps(folders: Sequence[Path], options: argparse.Namespace) -> int:
    from modeltest.reports.comparison.sweeps import compare_sweeps
    from modeltest.reports.comparison.sweeps_files import write_sweep_comparison
    from modeltest.reports.comparison.sweeps_text import comparison_text
    from modeltest.reports.console import path_lines
    from modeltest.reports.terminal import terminal_columns
    from modeltest.runlog.layout import check_writable

    check_writable(options.output_dir)
    tolerance = _TOLERANCE_PERCENT if options.tolerance is None else options.tolerance
    first, second = map(_sweep, folders)
    comparison = compare_sweeps(first, second, tolerance / 100)
    print(comparison_text(comparison, terminal_columns()))
    paths = write_sweep_comparison(comparison, (first, second), options.output_dir, options.lang)
    print(f"\n{path_lines(paths)}")
    return _EXIT_CODES[comparison.outcome]


def _transcripts(folders: Sequence[Path], options: argparse.Namespace) -> int:
    from modeltest.reports.comparison.transcripts import compare_transcripts, transcripts_text
    from modeltest.reports.comparison.transcripts_files import write_transcript_comparison
    from modeltest.reports.console import path_lines
    from modeltest.reports.terminal import terminal_columns
    from modeltest.runlog.layout import check_writable

    check_writable(options.output_dir)
    first, second = map(_evaluation, folders)
    comparison = compare_transcripts(first, second)
    print(transcripts_text(comparison, terminal_columns()))
    paths = write_transcript_comparison(
        comparison, (first[0], second[0]), options.output_dir, options.lang
    )
    print(f"\n{path_lines(paths)}")
    return EXIT_OK


def _evaluation(folder: Path) -> tuple[RunContent, Summary]:
    from modeltest.reports.summary import summarise
    from modeltest.runlog.run_log import read_run

    run = read_run(folder)
    return run, summarise(run)


def _sweep(folder: Path) -> tuple[SweepContent, SweepSummary]:
    from modeltest.reports.performance.summary import summarise_sweep
    from modeltest.runlog.sweep_log import read_sweep

    content = read_sweep(folder)
    return content, summarise_sweep(content)


def _kind_of(folder: Path) -> Kind:
    """What a run measured; its manifest may hold anything."""
    from modeltest.reports.comparison.transcripts import KIND
    from modeltest.runlog.manifest import read_manifest
    from modeltest.runlog.sweep_log import COMMAND

    manifest = read_manifest(folder)
    command = manifest.get("command")
    if command == COMMAND:
        return "performance"
    if command != "eval":
        raise UsageError(f"{folder}: cannot compare a run of {one_line(str(command)[:40])}")
    found: Any = manifest
    for key in ("task", "settings", "kind"):
        found = found.get(key) if isinstance(found, dict) else None
    return "transcription" if found == KIND else "accuracy"


def _refuse_options_of_others(options: argparse.Namespace, kind: Kind) -> None:
    for name, wanted in _ONLY_FOR.items():
        if kind != wanted and _is_given(options, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is for runs of {wanted}; these are runs of {kind}"
            )


def _is_given(options: argparse.Namespace, name: str) -> bool:
    value = getattr(options, name)
    return value is not None and value is not False  # 0 is given


def _percent(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"{text}: give a percentage from 0 to below 100")
    return value


def _points(text: str) -> float:
    value = _number(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text}: give percentage points above 0, below 100")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
