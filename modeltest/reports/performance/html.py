"""`report.html` of a sweep: one file to read in a browser, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping

from modeltest.reports.html import framed_page
from modeltest.reports.page.texts import Language, make_texts
from modeltest.reports.performance.figures import STAGES
from modeltest.reports.performance.judge import limits
from modeltest.reports.performance.plots import Plot
from modeltest.reports.performance.roofline import peak_source
from modeltest.reports.performance.summary import SweepSummary
from modeltest.reports.performance.svg import drawing
from modeltest.reports.performance.wording import percent, short, signed_percent
from modeltest.runlog.sweep_log import SweepContent

_GIB = 2**30


def performance_html(
    content: SweepContent,
    summary: SweepSummary,
    plots: Mapping[str, Plot],
    language: Language | None = None,
) -> bytes:
    """The page: verdict, what ran, table, plots, stages, reasons, manifest.

    Args:
        content: What is reported.
        summary: Its figures.
        plots: By file stem.
        language: See `modeltest.reports.page.texts.make_texts`.
    """
    from markupsafe import Markup

    texts = make_texts(language)
    drawings = {name: drawing(plot.svg, plot.phrases, texts) for name, plot in plots.items()}
    return framed_page(
        "performance/report.html.j2",
        verdict=summary.verdict,
        manifest=content.manifest,
        texts=texts,
        filters={
            "ms": _ms,
            "num": _num,
            "percent": _percent,
            "signed": signed_percent,
            "gib": _gib,
        },
        summary=summary,
        plots=plots,
        markup={name: Markup(drawn.markup) for name, drawn in drawings.items()},
        view_boxes={name: drawn.view_box for name, drawn in drawings.items()},
        crossed=[row.short_name for row in summary.rows if row.figures and not row.valid],
        stages=STAGES,
        peaks=content.peaks,
        peak_source=peak_source(content.peaks),
        limits=limits(content.manifest),
        torn=content.torn,
    )


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else short(1000 * seconds)


def _num(value: float | None) -> str:
    return "" if value is None else short(value)


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share, 1)


def _gib(num_bytes: int | None) -> str:
    return "" if num_bytes is None else short(num_bytes / _GIB)
