"""A comparison as the terminal shows it."""

from __future__ import annotations

from tabulate import tabulate
from termcolor import colored

from modeltest.errors import one_line
from modeltest.reports.comparison.sweeps import Comparison, PointComparison
from modeltest.reports.comparison.wording import english

_COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}


def comparison_text(comparison: Comparison) -> str:
    """The verdict, a row per point, and what is not the same in both runs."""
    outcome = colored(comparison.outcome, _COLOURS[comparison.outcome], attrs=["bold"])
    reasons = one_line("; ".join(comparison.withheld))
    table = tabulate(
        [_cells(point) for point in comparison.points],
        ("bs", "mode", "A tok/s", "B tok/s", "B / A", "95 % interval", "verdict"),
        tablefmt="simple",
        disable_numparse=True,
        colalign=("right", "left", "right", "right", "right", "right", "left"),
    )
    lines = [f"{outcome}: {reasons}" if reasons else outcome, "", table, ""]
    lines += [f"different: {name}: A {a}, B {b}" for name, a, b in comparison.differing]
    lines += comparison.only_one
    lines.append(english("compare.tolerance", share=f"{1 - comparison.tolerance:.4g}"))
    return "\n".join([*lines[:3], *(one_line(line) for line in lines[3:])])


def _cells(point: PointComparison) -> list[str]:
    interval = point.interval
    return [
        str(point.batch_size),
        point.mode,
        _rate(point.first),
        _rate(point.second),
        "-" if point.ratio is None else f"{point.ratio:.3f}",
        "-" if interval is None else f"{interval[0]:.3f} – {interval[1]:.3f}",
        f"{point.outcome} ({point.reason})" if point.reason else point.outcome,
    ]


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
