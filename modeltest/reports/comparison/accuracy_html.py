"""`compare.html` of two accuracy runs: verdict, figures, what changed, slices, manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modeltest.metrics.intervals import Spread
from modeltest.reports.comparison.accuracy import AccuracyComparison, Side, SubsetComparison
from modeltest.reports.comparison.axis import Axis
from modeltest.reports.comparison.changed_columns import (
    change_codes,
    change_counts,
    changed_columns,
    folders_of_both,
)
from modeltest.reports.comparison.shown_run import ShownRun, report_address
from modeltest.reports.comparison.wording import (
    number,
    outcome_sentence,
    p_text,
    signed,
    significance_key,
)
from modeltest.reports.html import TABLE_SCRIPTS, framed_page, script_json
from modeltest.reports.page.texts import Language, make_texts
from modeltest.runlog.run_log import RunContent

_TIMES_THE_MARGIN = 3.0


def accuracy_html(
    comparison: AccuracyComparison,
    runs: tuple[RunContent, RunContent],
    folder: Path,
    language: Language | None = None,
) -> bytes:
    """The page.

    Args:
        comparison: Of the runs.
        runs: A and B.
        folder: Where the page will be; clips and the runs' own pages are named from there.
        language: See `modeltest.reports.page.texts.make_texts`.
    """
    folder, manifest = folder.resolve(), runs[0].manifest
    sides = (comparison.first, comparison.second)
    return framed_page(
        "comparison/accuracy.html.j2",
        outcome=comparison.outcome,
        withheld=comparison.withheld,
        sentence=None if comparison.withheld else outcome_sentence(comparison),
        runs=[
            _shown(name, side, run, folder)
            for name, side, run in zip("AB", sides, runs, strict=True)
        ],
        different=comparison.different,
        unknown=comparison.unknown,
        texts=make_texts(language),
        scripts=(*TABLE_SCRIPTS, "flips.js"),
        filters=_FILTERS,
        task=manifest["task"]["name"],
        sides=sides,
        **_figures(comparison),
        **_changed(comparison, manifest["labels"], folders_of_both(runs, folder)),
    )


def _figures(comparison: AccuracyComparison) -> dict[str, Any]:
    overall, axis = comparison.overall, _axis(comparison)
    return {
        "overall": overall,
        "missing": list(_missing(comparison)),
        "margin": number(comparison.margin),
        "num_same_replies": comparison.num_same_replies,
        "significance": significance_key(comparison),
        "needed": list(_needed(comparison)),
        "discordance": f"{100 * comparison.discordance:.3g}",
        "design_effect": f"{comparison.design_effect:.2f}",
        "axis": axis,
        "limit": -comparison.margin,
        "rows": [_row(each, axis) for each in (overall, *comparison.subsets)],
    }


def _changed(
    comparison: AccuracyComparison, labels: Sequence[str], folders: Sequence[str]
) -> dict[str, Any]:
    changed = comparison.changed
    columns = changed_columns(changed, {"change": change_codes(changed)}, labels, folders)
    return {
        "changes": change_counts(changed),
        "num_changed": len(changed),
        "num_shown": columns.num_shown,
        "labels": labels,
        "slices": columns.slices,
        "samples_json": script_json(columns.content),
    }


def _shown(name: str, side: Side, run: RunContent, folder: Path) -> ShownRun:
    return ShownRun(
        name=name,
        run_id=side.run_id,
        model=side.model,
        place=side.place,
        verdict=side.verdict,
        report=report_address(run.folder, folder),
        manifest=run.manifest,
    )


def _missing(comparison: AccuracyComparison) -> Iterator[tuple[str, int]]:
    """Which run has how many samples that the other one lacks."""
    for name, side in (("A", comparison.first), ("B", comparison.second)):
        if side.num_done > comparison.overall.total:
            yield name, side.num_done - comparison.overall.total


def _needed(comparison: AccuracyComparison) -> Iterator[dict[str, str]]:
    for each in comparison.needed:
        yield {
            "power": f"{100 * each.power:.0f} %",
            "equal": f"{each.if_equal:,}",
            "seen": "–" if each.if_as_seen is None else f"{each.if_as_seen:,}",
        }


def _axis(comparison: AccuracyComparison) -> Axis:
    """Wide enough for the whole difference and the margin; small slices may leave it."""
    interval = comparison.overall.interval
    farthest = max(abs(interval.low), abs(interval.high)) * 1.15
    half = max(_TIMES_THE_MARGIN * comparison.margin, farthest)
    return Axis(-half, half)


def _row(each: SubsetComparison, axis: Axis) -> dict[str, Any]:
    return {
        "figures": each,
        "p": each.p_value if each.p_adjusted is None else each.p_adjusted,
        "shown": axis.interval(each.interval.low, each.difference, each.interval.high),
    }


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _has_interval(spread: Spread) -> bool:
    return spread.low is not None and spread.high is not None


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "percent": _percent,
    "signed": signed,
    "p_text": p_text,
    "has_interval": _has_interval,
}
