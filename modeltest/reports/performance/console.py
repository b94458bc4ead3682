"""What the terminal shows at the end of a sweep, within 80 columns."""

from __future__ import annotations

from modeltest.errors import one_line
from modeltest.reports.console import COLUMNS, coloured_verdict
from modeltest.reports.performance.figures import Figures
from modeltest.reports.performance.summary import Row, SweepSummary
from modeltest.reports.performance.wording import short
from modeltest.reports.terminal import fold, table

# Two lines, and one blank between columns: with two they would not fit.
_ONE_BLANK = 0
_HEADERS = (
    ("", "bs"), ("", "mode"), ("", "valid"), ("", "tokens/s (95 %)"), ("sampl.", "/s"),
    ("TTFT", "ms"), ("TPOT", "ms"), ("e2e ms", "p50/p90"), ("", "GiB"), ("MBU/", "MFU %"),
)  # fmt: skip
_LEFT = (1, 2)
_NOTHING = {"-", "-/-"}
_MAX_REASONS = 3  # in the first line; a bad sweep has one for every point and rule
_GIB = 2**30


def sweep_text(summary: SweepSummary, columns: int | None = None) -> str:
    """The verdict, a row per point, what bounds each point, and reasons that found no place.

    Args:
        summary: The sweep's figures.
        columns: Cells of a line; None leaves sentences on one line.
    """
    bounds = [one_line(row.roofline.bound) for row in summary.rows if row.roofline.bound]
    lines = [_verdict_line(summary, columns), "", _table(summary), ""]
    lines += [fold(bound, columns, "  ") for bound in bounds]
    if len(summary.verdict.reasons) > _MAX_REASONS:
        reasons = map(one_line, summary.verdict.reasons)
        lines += ["", "reasons:", *(fold(f"- {reason}", columns, "  ") for reason in reasons)]
    return "\n".join(lines)


def _table(summary: SweepSummary) -> str:
    """The points; where they do not fit, columns in which nothing was measured are left out."""
    headers, rows = _headers(summary), [point_cells(row) for row in summary.rows]
    whole = table(list(zip(*headers, strict=True)), rows, _LEFT, _ONE_BLANK)
    if max(map(len, whole.splitlines())) <= COLUMNS:
        return whole
    kept = [n for n in range(len(headers)) if {row[n] for row in rows} - _NOTHING]
    fewer = [[row[n] for n in kept] for row in rows]
    return table(list(zip(*(headers[n] for n in kept), strict=True)), fewer, _LEFT, _ONE_BLANK)


def point_headers(summary: SweepSummary) -> list[str]:
    """The table's headers, each in one line."""
    return [
        (f"{first}{second}" if first.endswith((".", "/")) else f"{first} {second}").strip()
        for first, second in _headers(summary)
    ]


def _headers(summary: SweepSummary) -> tuple[tuple[str, str], ...]:
    return (("in", "flight"), *_HEADERS[1:]) if summary.closed_loop else _HEADERS


def _verdict_line(summary: SweepSummary, columns: int | None) -> str:
    verdict = summary.verdict
    reasons = list(verdict.reasons[:_MAX_REASONS])
    if more := len(verdict.reasons) - len(reasons):
        reasons.append(f"and {more} more, listed below")
    return coloured_verdict(verdict.validity, "; ".join(reasons), columns)


def point_cells(row: Row) -> tuple[str, ...]:
    """A point's row, a cell per header."""
    start = (str(row.batch_size), row.mode, "yes" if row.valid else "NO")
    figures = row.figures
    if figures is None:
        return (*start, *["-"] * (len(_HEADERS) - len(start)))
    return (
        *start,
        _throughput(figures),
        short(figures.samples_per_s),
        _ms(figures.ttft_s),
        _ms(figures.tpot_s),
        f"{_ms(figures.e2e_p50_s)}/{_ms(figures.e2e_p90_s)}",
        short(figures.peak_memory_bytes / _GIB) if figures.peak_memory_bytes else "-",
        f"{_percent(row.roofline.mbu)}/{_percent(row.roofline.mfu)}",
    )


def _throughput(figures: Figures) -> str:
    if figures.output_tokens_per_s is None:
        return "-"
    value = short(figures.output_tokens_per_s)
    if figures.interval is None:
        return value
    low, high = figures.interval
    return f"{value} ({short(low)}–{short(high)})"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else short(1000 * seconds)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"
