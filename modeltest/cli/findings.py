"""What `modeltest check` found: a row each, with what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from modeltest.errors import EXIT_OK, EXIT_USAGE, one_line

State = Literal["ok", "warning", "bad"]

_MARKS = {"ok": "✓", "warning": "!", "bad": "✗"}
_COLOURS = {"ok": "green", "warning": "yellow", "bad": "red"}
_WIDTH = 13


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was looked at, how it stands, and what to do about it."""

    what: str
    state: State
    detail: str
    advice: str = ""


def show(findings: Iterable[Finding]) -> int:
    """Prints the rows as they come; returns exit code 2 when one is bad."""
    from termcolor import colored

    from modeltest.reports.terminal import fold, terminal_columns

    bad, columns, indent = 0, terminal_columns(), " " * (_WIDTH + 3)
    for finding in findings:
        mark = _MARKS[finding.state]
        row = fold(f"{mark} {finding.what:<{_WIDTH}} {one_line(finding.detail)}", columns, indent)
        print(colored(mark, _COLOURS[finding.state]) + row.removeprefix(mark), flush=True)
        if finding.advice:
            print(fold(f"{indent}{one_line(finding.advice)}", columns, indent), flush=True)
        bad += finding.state == "bad"
    if bad:
        print(f"{bad} of the checks failed", file=sys.stderr)
    return EXIT_USAGE if bad else EXIT_OK
