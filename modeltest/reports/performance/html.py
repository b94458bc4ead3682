"""`report.html` of a sweep: one file to read in a browser, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from modeltest.reports.html import page_template
from modeltest.reports.performance.figures import STAGES
from modeltest.reports.performance.judge import limits
from modeltest.reports.performance.plots import Plot
from modeltest.reports.performance.roofline import peak_source
from modeltest.reports.performance.summary import SweepSummary
from modeltest.reports.performance.wording import percent, short, signed_percent
from modeltest.runlog.sweep_log import SweepContent

_TEMPLATE = Path(__file__).with_name("report.html.j2")
_GIB = 2**30


def performance_html(
    content: SweepContent, summary: SweepSummary, plots: Mapping[str, Plot]
) -> bytes:
    """The page: verdict, what ran, table, plots, stages, reasons, manifest."""
    images = {
        name: f"data:image/png;base64,{base64.b64encode(plot.png).decode()}"
        for name, plot in plots.items()
    }
    manifest_text = json.dumps(content.manifest, indent=2, sort_keys=True, ensure_ascii=True)
    page = page_template(
        _TEMPLATE, ms=_ms, num=_num, percent=_percent, signed=signed_percent, gib=_gib
    ).render(
        manifest=content.manifest,
        manifest_lines=manifest_text.split("\n"),
        summary=summary,
        plots=plots,
        images=images,
        stages=STAGES,
        peaks=content.peaks,
        peak_source=peak_source(content.peaks),
        limits=limits(content.manifest),
        torn=content.torn,
    )
    return page.encode("utf-8", errors="backslashreplace")


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else short(1000 * seconds)


def _num(value: float | None) -> str:
    return "" if value is None else short(value)


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share, 1)


def _gib(num_bytes: int | None) -> str:
    return "" if num_bytes is None else short(num_bytes / _GIB)
