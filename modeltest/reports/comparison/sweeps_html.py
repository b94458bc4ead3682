"""`compare.html` of two performance runs: the ratio of each point with its interval."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modeltest.reports.comparison.axis import Axis, axis_around
from modeltest.reports.comparison.shown_run import ShownRun, report_address
from modeltest.reports.comparison.sweeps import Comparison, PointComparison
from modeltest.reports.html import framed_page
from modeltest.reports.page.texts import Language, make_texts
from modeltest.reports.performance.summary import SweepSummary
from modeltest.reports.performance.wording import short
from modeltest.runlog.sweep_log import SweepContent

Sweep = tuple[SweepContent, SweepSummary]


def sweeps_html(
    comparison: Comparison,
    sweeps: tuple[Sweep, Sweep],
    folder: Path,
    language: Language | None = None,
) -> bytes:
    """The page.

    Args:
        comparison: Of the sweeps.
        sweeps: A and B.
        folder: Where the page will be; the runs' own pages are named from there.
        language: See `modeltest.reports.page.texts.make_texts`.
    """
    limit = 1 - comparison.tolerance
    ends = (end for point in comparison.points for end in point.interval or ())
    axis = axis_around([1.0, limit, *ends])
    return framed_page(
        "comparison/sweeps.html.j2",
        outcome=comparison.outcome,
        withheld=comparison.withheld,
        sentence=None,
        runs=list(_shown(sweeps, folder.resolve())),
        different=comparison.differing,
        unknown=(),
        texts=make_texts(language),
        filters={"short": short},
        closed_loop=sweeps[0][1].closed_loop,
        rows=[_row(point, axis) for point in comparison.points],
        axis=axis,
        limit=limit,
        share=f"{limit:.4g}",
        only_one=comparison.only_one,
    )


def _shown(sweeps: tuple[Sweep, Sweep], folder: Path) -> Iterator[ShownRun]:
    for name, (content, summary) in zip("AB", sweeps, strict=True):
        manifest = content.manifest
        place = (summary.device_name, summary.dtype, manifest["attention"], manifest["engine"])
        yield ShownRun(
            name=name,
            run_id=manifest["place"]["run_id"],
            model=manifest["model"]["name"],
            place=", ".join(str(part) for part in place),
            verdict=summary.verdict,
            report=report_address(content.folder, folder),
            manifest=manifest,
        )


def _row(point: PointComparison, axis: Axis) -> dict[str, Any]:
    shown = None
    if point.ratio is not None and point.interval is not None:
        shown = axis.interval(point.interval[0], point.ratio, point.interval[1])
    return {"point": point, "shown": shown}
