"""A comparison of two accuracy runs as the terminal shows it."""

from __future__ import annotations

from collections.abc import Iterator

from modeltest.errors import one_line
from modeltest.reports.comparison.accuracy import AccuracyComparison, Side, SubsetComparison
from modeltest.reports.comparison.outcome_line import INDENT, outcome_line
from modeltest.reports.comparison.wording import (
    difference,
    needed,
    p_text,
    reason,
    signed,
    significance,
)
from modeltest.reports.terminal import fold, table

_SIGNIFICANT = 0.05


def accuracy_text(comparison: AccuracyComparison, columns: int | None = None) -> str:
    """The verdict, both runs, the figures per subset, and what stands behind them.

    Args:
        comparison: Of two runs.
        columns: Cells of a line; None folds nothing.
    """
    texts = [
        difference(comparison),
        "",
        _run("A", comparison.first),
        _run("B", comparison.second),
        "",
    ]
    lines = [
        outcome_line(comparison.outcome, reason(comparison), columns),
        *(fold(one_line(text), columns, INDENT) for text in texts),
        _table((comparison.overall, *comparison.subsets), columns),
        "",
        *(fold(one_line(note), columns, INDENT) for note in _notes(comparison)),
    ]
    return "\n".join(lines)


def _run(name: str, side: Side) -> str:
    return f"{name}  {side.run_id}  {side.model}  {side.place}  {side.verdict.validity}"


def _table(subsets: tuple[SubsetComparison, ...], columns: int | None) -> str:
    headers = ("subset", "total", "A %", "B %", "B - A", "95 % interval", "flips")
    return table([headers], [_cells(each) for each in subsets], {0}, columns)


def _cells(each: SubsetComparison) -> list[str]:
    return [
        one_line(each.subset),
        str(each.total),
        *(f"{100 * accuracy:.2f}" for accuracy in each.accuracies),
        signed(each.difference),
        f"{signed(each.interval.low)} – {signed(each.interval.high)}",
        f"-{each.num_regressions} +{each.num_improvements}",
    ]


def _notes(comparison: AccuracyComparison) -> Iterator[str]:
    overall = comparison.overall
    yield significance(comparison)
    yield (
        f"flips: only A is right on {overall.num_regressions} samples, only B on "
        f"{overall.num_improvements} (McNemar's exact test: {p_text(overall.p_value)}); on "
        f"{_num_other(comparison)} both are wrong in different ways"
    )
    yield f"the same reply, letter by letter: {comparison.num_same_replies} of {overall.total}"
    yield from _accuracies(comparison)
    yield from _significant_subsets(comparison)
    if comparison.outcome == "INCONCLUSIVE":
        yield needed(comparison)
    yield from _missing(comparison)
    yield from (f"different: {name}: A {a}, B {b}" for name, a, b in comparison.different)
    yield from (f"not compared: {what}" for what in comparison.unknown)


def _num_other(comparison: AccuracyComparison) -> int:
    return sum(not sample.is_flip for sample in comparison.changed)


def _accuracies(comparison: AccuracyComparison) -> Iterator[str]:
    overall = comparison.overall
    sides = zip("AB", overall.accuracies, overall.spreads, strict=True)
    for (name, value, spread), side in zip(
        sides, (comparison.first, comparison.second), strict=True
    ):
        between = ""
        if spread.low is not None and spread.high is not None:
            ends = f"{100 * spread.low:.2f} – {100 * spread.high:.2f}"
            between = f" ({ends}, {spread.method})"
        yield (
            f"accuracy of {name}: {100 * value:.2f} %{between}; {side.unparsed} replies unparsed, "
            f"{side.errors} samples failed"
        )


def _significant_subsets(comparison: AccuracyComparison) -> Iterator[str]:
    found = [
        f"{each.subset} ({p_text(each.p_adjusted)})"
        for each in comparison.subsets
        if each.p_adjusted is not None and each.p_adjusted < _SIGNIFICANT
    ]
    if found:
        yield f"differences beyond chance, after Holm: {', '.join(found)}"


def _missing(comparison: AccuracyComparison) -> Iterator[str]:
    total = comparison.overall.total
    for name, side in (("A", comparison.first), ("B", comparison.second)):
        if side.num_done > total:
            yield f"{side.num_done - total} samples of {name} are not in the other run"
