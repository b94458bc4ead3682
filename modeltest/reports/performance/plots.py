"""The plots of a sweep as PNG files; the same log gives the same bytes.

A point that is not valid has a hollow marker with a cross, so that it cannot be taken for a
measurement that may be signed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modeltest.reports.performance.figures import STAGES, Figures
from modeltest.reports.performance.roof_plot import draw_roofline
from modeltest.reports.performance.summary import Row, SweepSummary
from modeltest.runlog.sweep_log import SweepContent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODE_COLOURS = {"fixed": "#1f6fb2", "natural": "#d1711f"}
STAGE_COLOURS = {
    "feature": "#8c9aa8", "encoder": "#7b4fa3", "prefill": "#2b9a8b", "decode": "#1f6fb2",
    "detokenize": "#d1b01f", "other": "#d8dde3",
}  # fmt: skip
_SIZE_INCHES = (8.0, 4.6)
_DPI = 110
_LONGEST_SUBTITLE = 90


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture and what it shows, for those who cannot see it.

    Attributes:
        title: Heading.
        alt: The figures in words.
        png: The file.
    """

    title: str
    alt: str
    png: bytes


def sweep_plots(content: SweepContent, summary: SweepSummary) -> dict[str, Plot]:
    """Throughput, latency, stages and roofline by file stem; those that have data."""
    rows = [row for row in summary.rows if row.figures is not None]
    if not rows:
        return {}
    subtitle = _subtitle(content, summary)
    plots = {}
    if counted := [row for row in rows if _figures(row).output_tokens_per_s is not None]:
        alt = _throughput_alt(counted)
        plots["throughput"] = _plot("Throughput", subtitle, alt, counted, draw_throughput)
    plots["latency"] = _plot("Latency of a batch", subtitle, _latency_alt(rows), rows, draw_latency)
    if any(_stage_means(row) for row in rows):
        alt = "Stacked bars: milliseconds of a batch per stage; the table of stages has them."
        plots["stages"] = _plot("Where the time goes", subtitle, alt, rows, draw_stages)
    if content.peaks and any(row.roofline.stages for row in rows):
        peaks = content.peaks

        def draw(axes: Axes, drawn: Sequence[Row]) -> None:
            draw_roofline(axes, drawn, peaks)

        alt = "Useful FLOP/s of each stage against its operations per byte, below the measured "
        alt += "limits; the table of stages has the shares."
        plots["roofline"] = _plot("Roofline", subtitle, alt, rows, draw)
    return plots


def draw_throughput(axes: Axes, rows: Sequence[Row]) -> None:
    """Output tokens per second against batch size, with 95 % intervals."""
    for offset, (mode, members) in zip((0.985, 1.015), _by_mode(rows), strict=False):
        sizes = [row.batch_size * offset for row in members]
        rates = [_rate(row) for row in members]
        ends = [_figures(row).interval or (_rate(row),) * 2 for row in members]
        below = [max(0.0, r - low) for r, (low, _) in zip(rates, ends, strict=True)]
        above = [max(0.0, high - r) for r, (_, high) in zip(rates, ends, strict=True)]
        colour = _colour(mode)
        axes.errorbar(
            sizes, rates, yerr=[below, above], color=colour, capsize=4, linewidth=1.5, zorder=2
        )
        dots = list(zip(sizes, rates, (row.valid for row in members), strict=True))
        _markers(axes, dots, colour, "o", mode)
    _batch_axis(axes, rows)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("output tokens per second")
    _legend(axes, rows)


def draw_latency(axes: Axes, rows: Sequence[Row]) -> None:
    """Median time to the first token and to the last reply, against batch size."""
    for mode, members in _by_mode(rows):
        e2e = [(row, _figures(row).e2e_p50_s) for row in members]
        ttft = [(row, _figures(row).ttft_s) for row in members]
        _latency_line(axes, e2e, f"{mode}: whole reply (e2e, median)", mode, "-", "o")
        _latency_line(axes, ttft, f"{mode}: first token (TTFT, median)", mode, "--", "s")
    _batch_axis(axes, rows)
    axes.set_yscale("log")
    _plain_log_labels(axes)
    axes.set_ylabel("milliseconds (log scale)")
    _legend(axes, rows)


def draw_stages(axes: Axes, rows: Sequence[Row]) -> None:
    """One stacked bar per point: the stages' mean times of a batch."""
    drawn = [(row, stages) for row in rows if (stages := _stage_means(row))]
    places = range(len(drawn))
    bottoms = [0.0] * len(drawn)
    for stage in (*STAGES, "other"):
        heights = [1000 * stages[stage] for _, stages in drawn]
        axes.bar(
            places, heights, bottom=bottoms, color=STAGE_COLOURS[stage], label=stage, width=0.7,
            edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        bottoms = [b + h for b, h in zip(bottoms, heights, strict=True)]
    for place, (row, _), top in zip(places, drawn, bottoms, strict=True):
        if not row.valid:
            axes.annotate(
                "not\nvalid", (place, top), (0, 3), textcoords="offset points", ha="center",
                va="bottom", fontsize=8, color="#b3261e",
            )  # fmt: skip
    axes.set_xticks(list(places), [f"bs {row.batch_size}\n{row.mode}" for row, _ in drawn])
    axes.tick_params(axis="x", labelsize=9 if len(drawn) <= 10 else 7)
    axes.set_ylim(0, max(bottoms) * 1.15)
    axes.set_ylabel("milliseconds of a batch (median)")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=9, **_OUTSIDE)


_OUTSIDE: Mapping[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}


def _latency_line(
    axes: Axes,
    values: Sequence[tuple[Row, float | None]],
    label: str,
    mode: str,
    style: str,
    marker: str,
) -> None:
    known = [(row, 1000 * seconds) for row, seconds in values if seconds is not None]
    if not known:
        return
    dots = [(float(row.batch_size), time, row.valid) for row, time in known]
    colour = _colour(mode)
    sizes, times = [dot[0] for dot in dots], [dot[1] for dot in dots]
    axes.plot(sizes, times, style, color=colour, linewidth=1.5, zorder=2)
    _markers(axes, dots, colour, marker, label)


def _markers(
    axes: Axes, dots: Sequence[tuple[float, float, bool]], colour: str, marker: str, label: str
) -> None:
    """Batch size, value and validity of each point; those not valid are hollow and crossed."""
    for size, value, good in dots:
        face = colour if good else "white"
        axes.plot(size, value, marker, color=colour, markerfacecolor=face, markersize=8, zorder=3)
        if not good:
            axes.plot(size, value, "x", color="#b3261e", markersize=7, zorder=4)
    axes.plot([], [], marker, color=colour, label=label)


def _legend(axes: Axes, rows: Sequence[Row]) -> None:
    if not all(row.valid for row in rows):
        axes.plot([], [], "x", color="#b3261e", label="not valid, see the reasons")
    axes.legend(frameon=False, fontsize=9, **_OUTSIDE)


def _batch_axis(axes: Axes, rows: Sequence[Row]) -> None:
    sizes = sorted({row.batch_size for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.set_xlabel(_size(rows))


def _plain_log_labels(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.minorticks_off()


def _plot(
    title: str,
    subtitle: str,
    alt: str,
    rows: Sequence[Row],
    draw: Callable[[Axes, Sequence[Row]], None],
) -> Plot:
    with _own_style():
        figure = _figure()
        axes = figure.add_subplot()
        draw(axes, rows)
        axes.grid(True, color="#e3e7ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        # A name may hold what matplotlib takes for mathematics.
        axes.set_title(subtitle, loc="left", fontsize=9, color="#5a6672", parse_math=False)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return Plot(title, alt, stream.getvalue())


def _figure() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def _own_style() -> Iterator[None]:
    """The library's own defaults, whatever style this machine's user has set."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def _subtitle(content: SweepContent, summary: SweepSummary) -> str:
    manifest = content.manifest
    parts = (manifest["model"]["name"], summary.device_name, summary.dtype, manifest["engine"])
    # The font that comes with matplotlib has not every script.
    text = " · ".join(str(part).encode("ascii", "backslashreplace").decode() for part in parts)
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= _LONGEST_SUBTITLE else f"{shown[:_LONGEST_SUBTITLE]}…"


def _by_mode(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    modes = dict.fromkeys(row.mode for row in rows)
    return [(mode, [row for row in rows if row.mode == mode]) for mode in modes]


def _figures(row: Row) -> Figures:
    if row.figures is None:
        raise ValueError(f"{row.name} has no figures")
    return row.figures


def _rate(row: Row) -> float:
    rate = _figures(row).output_tokens_per_s
    if rate is None:
        raise ValueError(f"the tokens of {row.name} were not counted")
    return rate


def _stage_means(row: Row) -> dict[str, float] | None:
    """Median seconds of each stage and of the rest, or None where one is unknown."""
    figures = row.figures
    if figures is None or figures.unattributed_s is None:
        return None
    stages = {stage: seconds or 0.0 for stage, seconds in figures.stage_s.items()}
    return {**stages, "other": max(0.0, figures.unattributed_s)}


def _colour(mode: str) -> str:
    return MODE_COLOURS.get(mode, "#444444")


def _throughput_alt(rows: Sequence[Row]) -> str:
    parts = [f"{row.name}: {_rate(row):.4g}{'' if row.valid else ' (not valid)'}" for row in rows]
    return f"Output tokens per second against {_size(rows)}. {'; '.join(parts)}."


def _latency_alt(rows: Sequence[Row]) -> str:
    parts = [f"{row.name}: {1000 * _figures(row).e2e_p50_s:.4g} ms" for row in rows]
    of = "request" if rows[0].closed_loop else "batch"
    return f"Median time of a {of} against {_size(rows)}. {'; '.join(parts)}."


def _size(rows: Sequence[Row]) -> str:
    return "requests in flight" if rows[0].closed_loop else "batch size"
