"""What the terminal shows at the end of a sweep, within 80 columns."""

from __future__ import annotations

from termcolor import colored

from modeltest.errors import one_line
from modeltest.reports.performance.figures import Figures
from modeltest.reports.performance.summary import Row, SweepSummary
from modeltest.reports.performance.wording import short

_COLOURS = {"VALID": "green", "LIMITED": "yellow", "INVALID": "red", "INCOMPLETE": "red"}
# Two lines, and one blank between columns: with tabulate's two they would not fit.
_HEADERS = (
    ("", "bs"), ("", "mode"), ("", "valid"), ("", "tokens/s (95 %)"), ("sampl.", "/s"),
    ("TTFT", "ms"), ("TPOT", "ms"), ("e2e ms", "p50/p90"), ("", "GiB"), ("MBU/", "MFU %"),
)  # fmt: skip
_NUM_LEFT = 3
_MAX_REASONS = 3  # in the first line; a bad sweep has one for every point and rule
_GIB = 2**30


def sweep_text(summary: SweepSummary) -> str:
    """The verdict, a row per point, what bounds each point, and reasons that found no place."""
    bounds = [one_line(row.roofline.bound) for row in summary.rows if row.roofline.bound]
    lines = [_verdict_line(summary), "", *_table(summary), "", *bounds]
    if len(summary.verdict.reasons) > _MAX_REASONS:
        lines += ["", "reasons:", *(f"- {one_line(each)}" for each in summary.verdict.reasons)]
    return "\n".join(lines)


def _verdict_line(summary: SweepSummary) -> str:
    verdict = summary.verdict
    word = colored(verdict.validity, _COLOURS[verdict.validity], attrs=["bold"])
    reasons = list(verdict.reasons[:_MAX_REASONS])
    if more := len(verdict.reasons) - len(reasons):
        reasons.append(f"and {more} more, listed below")
    return f"{word}: {one_line('; '.join(reasons))}" if reasons else word


def _table(summary: SweepSummary) -> list[str]:
    rows = [_cells(row) for row in summary.rows]
    headers = (("in", "flight"), *_HEADERS[1:]) if summary.closed_loop else _HEADERS
    first, second = zip(*headers, strict=True)
    widths = [max(map(len, column)) for column in zip(first, second, *rows, strict=True)]
    lines = [_line(cells, widths) for cells in (first, second, *rows)]
    lines.insert(2, " ".join("-" * width for width in widths))
    return lines


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    placed = (
        cell.ljust(width) if 0 < number < _NUM_LEFT else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return " ".join(placed).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
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
