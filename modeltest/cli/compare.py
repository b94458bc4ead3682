"""`modeltest compare`: is run B as fast as run A, or, of transcripts, does it say the same?"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltest.errors import EXIT_INCOMPLETE, EXIT_INVALID, EXIT_OK, UsageError, one_line

if TYPE_CHECKING:
    from modeltest.reports.compare import Outcome
    from modeltest.reports.performance.summary import SweepSummary
    from modeltest.runlog.sweep_log import SweepContent

HELP = "compare the speed of two runs: PASS, FAIL or INCONCLUSIVE; or two runs' transcripts"
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
    """Compares two performance runs, or two runs of a transcription task.

    Returns:
        Of performance 0 for PASS, 3 for FAIL, 4 for INCONCLUSIVE; of transcripts 0: their
        agreement is a figure and no verdict.
    """
    from modeltest.runlog.find import find_run

    folders = [find_run(name, options.output_dir) for name in (options.first, options.second)]
    are_transcripts = _is_transcription(folders[0])
    for folder in folders:
        if _is_transcription(folder) != are_transcripts:
            raise _no_pair(folder)
    return _transcripts(folders) if are_transcripts else _sweeps(folders, options.tolerance)


def _sweeps(folders: Sequence[Path], tolerance_percent: float) -> int:
    from modeltest.reports.compare import compare_sweeps
    from modeltest.reports.compare_text import comparison_text

    first, second = map(_sweep, folders)
    comparison = compare_sweeps(first, second, tolerance_percent / 100)
    print(comparison_text(comparison))
    return _EXIT_CODES[comparison.outcome]


def _transcripts(folders: Sequence[Path]) -> int:
    from modeltest.reports.compare_transcripts import compare_transcripts, transcripts_text
    from modeltest.reports.summary import summarise
    from modeltest.runlog.run_log import read_run

    first, second = map(read_run, folders)
    comparison = compare_transcripts((first, summarise(first)), (second, summarise(second)))
    print(transcripts_text(comparison))
    return EXIT_OK


def _is_transcription(folder: Path) -> bool:
    """Whether a run is one; its manifest may hold anything."""
    from modeltest.reports.compare_transcripts import KIND
    from modeltest.runlog.manifest import read_manifest

    found: Any = read_manifest(folder)
    for key in ("task", "settings", "kind"):
        found = found.get(key) if isinstance(found, dict) else None
    return bool(found == KIND) and read_manifest(folder).get("command") == "eval"


def _sweep(folder: Path) -> tuple[SweepContent, SweepSummary]:
    from modeltest.reports.performance.summary import summarise_sweep
    from modeltest.runlog.manifest import read_manifest
    from modeltest.runlog.sweep_log import COMMAND, read_sweep

    if read_manifest(folder).get("command") != COMMAND:
        raise _no_pair(folder)
    content = read_sweep(folder)
    return content, summarise_sweep(content)


def _no_pair(folder: Path) -> UsageError:
    from modeltest.runlog.manifest import read_manifest

    command = one_line(str(read_manifest(folder).get("command")))
    return UsageError(
        "compares performance runs, or runs of one transcription task; "
        f"{folder} is a run of modeltest {command}"
    )


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a percentage: {text!r}") from None
    if not (math.isfinite(value) and 0 <= value < 100):
        raise argparse.ArgumentTypeError(f"{text}: give a percentage from 0 to below 100")
    return value
