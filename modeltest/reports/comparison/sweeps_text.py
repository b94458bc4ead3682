"""A comparison of two sweeps as the terminal shows it."""

from __future__ import annotations

from collections.abc import Iterator

from modeltest.errors import one_line
from modeltest.reports.comparison.outcome_line import INDENT, outcome_line
from modeltest.reports.comparison.sweeps import Comparison, PointComparison
from modeltest.reports.comparison.wording import english
from modeltest.reports.terminal import fold, table

_HEADERS = ("bs", "mode", "A tok/s", "B tok/s", "B / A", "95 % interval", "verdict")
_LEFT = (1, 6)


def comparison_text(comparison: Comparison, columns: int | None = None) -> str:
    """The verdict, a row per point, and what is not the same in both runs.

    Args:
        comparison: Of two sweeps.
        columns: Cells of a line; None folds nothing.
    """
    rows = [_cells(point) for point in comparison.points]
    lines = [
        outcome_line(comparison.outcome, "; ".join(comparison.withheld), columns),
        "",
        table([_HEADERS], rows, _LEFT, columns),
        "",
        *(fold(one_line(note), columns, INDENT) for note in _notes(comparison)),
    ]
    return "\n".join(lines)


def _notes(comparison: Comparison) -> Iterator[str]:
    undecided: dict[str, list[str]] = {}
    for point in comparison.points:
        if point.reason:
            undecided.setdefault(point.reason, []).append(point.name)
    yield from (f"{reason}: {'; '.join(names)}" for reason, names in undecided.items())
    yield from (f"different: {name}: A {a}, B {b}" for name, a, b in comparison.differing)
    yield from comparison.only_one
    yield english("compare.tolerance", share=f"{1 - comparison.tolerance:.4g}")


def _cells(point: PointComparison) -> list[str]:
    interval = point.interval
    return [
        str(point.batch_size),
        one_line(point.mode),
        _rate(point.first),
        _rate(point.second),
        "-" if point.ratio is None else f"{point.ratio:.3f}",
        "-" if interval is None else f"{interval[0]:.3f} – {interval[1]:.3f}",
        point.outcome,
    ]


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
