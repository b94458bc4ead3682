"""`report.html`: one file to read in a browser, nothing fetched from anywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltest.errors import one_line
from modeltest.reports.summary import Summary
from modeltest.runlog.run_log import RunContent

if TYPE_CHECKING:
    import jinja2


def report_html(run: RunContent, summary: Summary) -> bytes:
    """The page: verdict, what ran, results, confusion matrix, wrong samples."""
    rates = summary.rates
    page = page_template(Path(__file__).with_name("report.html.j2")).render(
        run=run,
        manifest=run.manifest,
        summary=summary,
        rows=[
            {metric: summary.value(subset, metric) for metric in _metrics(rates)}
            | {"subset": subset}
            for subset in dict.fromkeys(aggregate.subset for aggregate in rates)
        ],
        metrics=_metrics(rates),
        speed=summary.speed,
        wrong=[run.samples[place] for place in summary.wrong],
    )
    return page.encode("utf-8", errors="backslashreplace")


@functools.cache  # compiling a page takes as long as all other reports of a small run together
def page_template(path: Path, **filters: Callable[..., Any]) -> jinja2.Template:
    """A page's template: it escapes what it is given, and fails on what it is not given."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: one_line(value) if isinstance(value, str) else value,
    )
    environment.filters.update(filters)
    return environment.from_string(path.read_text(encoding="utf-8"))


def _metrics(aggregates: list[Any]) -> list[str]:
    return list(dict.fromkeys(aggregate.metric for aggregate in aggregates))
