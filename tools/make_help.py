"""Writes docs/help.md from the command's own --help: `python tools/make_help.py`.

argparse words and wraps help a little differently in each Python release; the page is made with
`PYTHON`, and compared by that one alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from modeltest.cli.main import build_parser

PATH = Path(__file__).parents[1] / "docs" / "help.md"
PYTHON = (3, 11)
_START = """\
# Every command and option

Made from the command's own `--help` by `python tools/make_help.py`; a test
fails when it is stale.
"""


def help_page() -> str:
    """The page: the whole command, then each subcommand, 80 columns wide."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"  # argparse asks for it
    try:
        parser = build_parser()
        parts = [_section("modeltest", parser)]
        parts += [_section(f"modeltest {name}", each) for name, each in _commands(parser).items()]
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n".join([_START, *parts])


def _section(title: str, parser: argparse.ArgumentParser) -> str:
    return f"## `{title}`\n\n```text\n{parser.format_help()}```\n"


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [found] = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


def main() -> int:
    """Writes the page; exit code 2 where another Python would wrap it otherwise."""
    if sys.version_info[:2] != PYTHON:
        wanted = ".".join(map(str, PYTHON))
        print(f"make_help: needs Python {wanted}, whose argparse the page is made with")
        return 2
    PATH.write_text(help_page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
