"""`modeltest compare`: is run B as fast as run A?"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.errors import EXIT_INCOMPLETE, EXIT_INVALID, EXIT_OK

if TYPE_CHECKING:
    from modeltest.reports.compare import Outcome
    from modeltest.reports.performance.summary import SweepSummary
    from modeltest.runlog.sweep_log import SweepContent

HELP = "compare the speed of two runs: PASS, FAIL or INCONCLUSIVE"
_EXIT_CODES: dict[Outcome, int] = {
    "PASS": EXIT_OK,
    "FAIL": EXIT_INVALID,
    "INCONCLUSIVE": EXIT_INCOMPLETE,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("first", metavar="RUN_A", help="the reference: a run's folder or id")
    parser.add_argument("second", metavar="RUN_B", help="a run's folder or id, or 'last'")
    parser.add_argument(
        "--tolerance",
        type=_percent,
        default=5.0,
        metavar="PERCENT",
        help="how much slower B may be",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where runs are"
    )


def execute(options: argparse.Namespace) -> int:
    """Prints ratios and verdict; 0 is PASS, 3 is FAIL, 4 is INCONCLUSIVE."""
    from modeltest.reports.compare import compare_sweeps
    from modeltest.reports.compare_text import comparison_text

    first = _sweep(options.first, options.output_dir)
    second = _sweep(options.second, options.output_dir)
    comparison = compare_sweeps(first, second, options.tolerance / 100)
    print(comparison_text(comparison))
    return _EXIT_CODES[comparison.outcome]


def _sweep(name: str, output_dir: Path) -> tuple[SweepContent, SweepSummary]:
    from modeltest.errors import UsageError, one_line
    from modeltest.reports.performance.summary import summarise_sweep
    from modeltest.runlog.find import find_run
    from modeltest.runlog.manifest import read_manifest
    from modeltest.runlog.sweep_log import COMMAND, read_sweep

    folder = find_run(name, output_dir)
    command = read_manifest(folder).get("command")
    if command != COMMAND:
        raise UsageError(
            f"compares performance runs; {folder} is a run of modeltest {one_line(str(command))}"
        )
    content = read_sweep(folder)
    return content, summarise_sweep(content)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a percentage: {text!r}") from None
    if not (math.isfinite(value) and 0 <= value < 100):
        raise argparse.ArgumentTypeError(f"{text}: give a percentage from 0 to below 100")
    return value
