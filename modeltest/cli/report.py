"""`modeltest report`: rebuild every report of a run from its manifest and log."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "rebuild every report of a run from its log, byte for byte"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("run", metavar="RUN", help="a run's folder or id, or 'last'")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where runs are"
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="rescue the whole records of a damaged log first; the damaged file is kept",
    )


def execute(options: argparse.Namespace) -> int:
    """Writes the reports and shows them; the exit code is the verdict's."""
    from modeltest.cli.outcome import show_outcome
    from modeltest.errors import one_line
    from modeltest.runlog.find import find_run
    from modeltest.runlog.lock import locked
    from modeltest.runlog.repair import repair

    folder = find_run(options.run, options.output_dir)
    if options.repair:
        with locked(folder):
            for line in repair(folder):
                # The first line of the output is the verdict's.
                print(f"repaired  {one_line(line)}", file=sys.stderr)
    return show_outcome(folder)
