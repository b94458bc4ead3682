"""The first line of a comparison: PASS, FAIL or INCONCLUSIVE, and why."""

from __future__ import annotations

from collections.abc import Mapping

from termcolor import colored

from modeltest.errors import one_line
from modeltest.metrics.paired import Outcome
from modeltest.reports.terminal import fold

INDENT = "  "
"""What further lines of a folded sentence begin with."""

_COLOURS: Mapping[Outcome, str] = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}


def outcome_line(word: Outcome, why: str, columns: int | None) -> str:
    """The word, coloured on a terminal, and the reason.

    Args:
        word: The verdict.
        why: May be anything; empty where the word stands alone.
        columns: Cells of a line; None leaves it one line.
    """
    line = f"{word}: {one_line(why)}" if why else word
    shown = colored(word, _COLOURS[word], attrs=["bold"])
    return shown + fold(line, columns, INDENT).removeprefix(word)
