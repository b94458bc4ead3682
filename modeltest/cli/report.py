"""`modeltest report`: rebuild every report of a run from its manifest and log."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from modeltest.cli.options import add_language

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
    add_language(parser, "report.html")
    parser.add_argument(
        "--embed-audio",
        action="store_true",
        help="put the clips into report.html, so that it plays them wherever it is sent",
    )
    parser.add_argument(
        "--md",
        action="store_true",
        help="only print the run as a block of Markdown, for a release note or a pull request",
    )


def execute(options: argparse.Namespace) -> int:
    """Writes the reports and shows them; the exit code is the verdict's."""
    from modeltest.cli.outcome import PageOptions, show_markdown, show_outcome
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
    if options.md:
        return show_markdown(folder)
    return show_outcome(folder, PageOptions(options.lang, options.embed_audio))
