"""The plots of a sweep; the same log gives the same bytes.

A point that is not valid has a hollow marker with a cross, so that it cannot be taken for a
measurement that may be signed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modeltest.reports.page.texts import make_texts
from modeltest.reports.performance.figure_files import figure_files
from modeltest.reports.performance.figures import STAGES, Figures
from modeltest.reports.performance.palette import BAD, MODE_COLOURS, PAGE, STAGE_COLOURS
from modeltest.reports.performance.plot_words import Phrase, PlotWords
from modeltest.reports.performance.roof_plot import draw_roofline
from modeltest.reports.performance.summary import Row, SweepSummary
from modeltest.reports.performance.wording import short
from modeltest.runlog.sweep_log import SweepContent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Draw = Callable[["Axes", Sequence[Row], PlotWords], None]

_LONGEST_SUBTITLE = 90
_BESIDE: Mapping[str, Any] = {
    "frameon": False, "fontsize": 9.5, "loc": "upper left", "bbox_to_anchor": (1.01, 1.0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing and what it shows, for those who cannot see it.

    Attributes:
        alt: The figures in words.
        caption: How to read it.
        png: The file.
        svg: The same drawing, its text as text.
        phrases: What the page can say in another language of that text.
    """

    alt: Phrase
    caption: Phrase
    png: bytes
    svg: bytes
    phrases: Mapping[str, Phrase]


def sweep_plots(content: SweepContent, summary: SweepSummary) -> dict[str, Plot]:
    """Throughput, latency, stages and roofline by file stem; those that have data."""
    rows = [row for row in summary.rows if row.figures is not None]
    if not rows:
        return {}
    subtitle = _subtitle(content, summary)
    plots = {}
    if counted := [row for row in rows if _figures(row).output_tokens_per_s is not None]:
        plots["throughput"] = _plot(
            "perf.plot.throughput", "perf.plot.throughput_how",
            _throughput_alt(counted), subtitle, counted, draw_throughput,
        )  # fmt: skip
    plots["latency"] = _plot(
        "perf.plot.latency", "perf.plot.latency_how",
        _latency_alt(rows), subtitle, rows, draw_latency,
    )  # fmt: skip
    if staged := [row for row in rows if _stage_means(row)]:
        plots["stages"] = _plot(
            "perf.plot.stages", "perf.plot.stages_how",
            Phrase("perf.alt.stages"), subtitle, staged, draw_stages,
        )  # fmt: skip
    if content.peaks and any(row.roofline.stages for row in rows):
        peaks = content.peaks
        chosen = [row for row in rows if row.mode == "fixed"] or rows

        def draw(axes: Axes, drawn: Sequence[Row], say: PlotWords) -> None:
            draw_roofline(axes, drawn, peaks, say)

        plots["roofline"] = _plot(
            "perf.plot.roofline", "perf.plot.roofline_how",
            Phrase("perf.alt.roofline"), subtitle, chosen, draw,
        )  # fmt: skip
    return plots


def draw_throughput(axes: Axes, rows: Sequence[Row], say: PlotWords) -> None:
    """Output tokens per second against batch size, with 95 % intervals."""
    of_modes = _by_mode(rows)
    offsets = (1.0,) if len(of_modes) == 1 else (0.985, 1.015)
    for offset, (mode, members) in zip(offsets, of_modes, strict=True):
        sizes = [row.batch_size * offset for row in members]
        rates = [_rate(row) for row in members]
        ends = [_figures(row).interval or (_rate(row),) * 2 for row in members]
        below = [max(0.0, r - low) for r, (low, _) in zip(rates, ends, strict=True)]
        above = [max(0.0, high - r) for r, (_, high) in zip(rates, ends, strict=True)]
        colour = MODE_COLOURS[mode]
        axes.errorbar(
            sizes, rates, yerr=[below, above], color=colour, capsize=4, linewidth=1.5, zorder=2
        )
        dots = list(zip(sizes, rates, (row.valid for row in members), strict=True))
        _markers(axes, dots, colour, "-", "o", mode)
    _batch_axis(axes, rows, say)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(say("perf.plot.rate"))
    _legend(axes, rows, say)


def draw_latency(axes: Axes, rows: Sequence[Row], say: PlotWords) -> None:
    """Median time to the first token and to the last reply, against batch size."""
    for mode, members in _by_mode(rows):
        e2e = [(row, _figures(row).e2e_p50_s) for row in members]
        ttft = [(row, _figures(row).ttft_s) for row in members]
        _latency_line(axes, e2e, say("perf.plot.e2e", mode=mode), mode, "-", "o")
        _latency_line(axes, ttft, say("perf.plot.ttft", mode=mode), mode, "--", "s")
    _batch_axis(axes, rows, say)
    axes.set_yscale("log")
    _plain_log_labels(axes)
    axes.set_ylabel(say("perf.plot.ms_log"))
    _legend(axes, rows, say)


def draw_stages(axes: Axes, rows: Sequence[Row], say: PlotWords) -> None:
    """One stacked bar per point: the stages' times of a batch; the modes side by side."""
    drawn = [(row, _stage_means(row) or {}) for row in rows]
    modes = [mode for mode, _ in _by_mode(rows)]
    # One place between two modes stays empty.
    places = [number + modes.index(row.mode) for number, row in enumerate(rows)]
    bottoms = [0.0] * len(drawn)
    for stage in (*STAGES, "other"):
        heights = [1000 * stages[stage] for _, stages in drawn]
        label = say("perf.plot.other") if stage == "other" else stage
        axes.bar(
            places, heights, bottom=bottoms, color=STAGE_COLOURS[stage], label=label, width=0.7,
            edgecolor=PAGE, linewidth=0.5,
        )  # fmt: skip
        bottoms = [b + h for b, h in zip(bottoms, heights, strict=True)]
    highest = max(bottoms)
    axes.set_xticks(places, [str(row.batch_size) for row in rows])
    axes.tick_params(axis="x", labelsize=10 if len(rows) <= 14 else 7.5)
    axes.xaxis.grid(False)
    axes.set_ylim(0, highest * 1.15)
    axes.set_xlabel(say(_size_key(rows)), labelpad=18)
    axes.set_ylabel(say("perf.plot.ms_stages"))
    _name_groups(axes, rows, places)
    handles, labels = axes.get_legend_handles_labels()
    handles, labels = handles[::-1], labels[::-1]  # in the order of the bars
    crossed = [
        (place, top) for row, place, top in zip(rows, places, bottoms, strict=True) if not row.valid
    ]
    for place, top in crossed:
        [cross] = axes.plot(place, top + 0.04 * highest, "x", color=BAD, markersize=8)
    if crossed:
        handles, labels = [*handles, cross], [*labels, say("perf.plot.crossed")]
    axes.legend(handles, labels, **_BESIDE)


def _name_groups(axes: Axes, rows: Sequence[Row], places: Sequence[int]) -> None:
    for mode, _ in _by_mode(rows):
        own = [place for row, place in zip(rows, places, strict=True) if row.mode == mode]
        axes.annotate(
            mode, (sum(own) / len(own), 0), (0, -19), textcoords="offset points",
            xycoords=("data", "axes fraction"), ha="center", va="top", annotation_clip=False,
        )  # fmt: skip


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
    colour = MODE_COLOURS[mode]
    sizes, times = [dot[0] for dot in dots], [dot[1] for dot in dots]
    axes.plot(sizes, times, style, color=colour, linewidth=1.5, zorder=2)
    _markers(axes, dots, colour, style, marker, label)


def _markers(
    axes: Axes,
    dots: Sequence[tuple[float, float, bool]],
    colour: str,
    style: str,
    marker: str,
    label: str,
) -> None:
    """Batch size, value and validity of each point; those not valid are hollow and crossed."""
    for size, value, good in dots:
        face = colour if good else PAGE
        axes.plot(size, value, marker, color=colour, markerfacecolor=face, markersize=8, zorder=3)
        if not good:
            axes.plot(size, value, "x", color=BAD, markersize=7, zorder=4)
    axes.plot([], [], style, marker=marker, color=colour, linewidth=1.5, label=label)


def _legend(axes: Axes, rows: Sequence[Row], say: PlotWords) -> None:
    if not all(row.valid for row in rows):
        axes.plot([], [], "x", color=BAD, label=say("perf.plot.crossed"))
    axes.legend(**_BESIDE)


def _batch_axis(axes: Axes, rows: Sequence[Row], say: PlotWords) -> None:
    sizes = sorted({row.batch_size for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.set_xlabel(say(_size_key(rows)))


def _plain_log_labels(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()


def _plot(
    title: str,
    how: str,
    alt: Phrase,
    subtitle: str,
    rows: Sequence[Row],
    draw: Draw,
) -> Plot:
    say = PlotWords(make_texts("en"))
    name = title.rpartition(".")[2]
    png, svg = figure_files(name, say(title), subtitle, lambda axes: draw(axes, rows, say))
    return Plot(alt, Phrase(how), png, svg, say.phrases)


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


def _throughput_alt(rows: Sequence[Row]) -> Phrase:
    points = "; ".join(f"{row.short_name}: {short(_rate(row))}" for row in rows)
    key = "perf.alt.throughput_in_flight" if rows[0].closed_loop else "perf.alt.throughput"
    return Phrase(key, {"points": points})


def _latency_alt(rows: Sequence[Row]) -> Phrase:
    points = "; ".join(f"{row.short_name}: {short(1000 * _figures(row).e2e_p50_s)}" for row in rows)
    key = "perf.alt.latency_in_flight" if rows[0].closed_loop else "perf.alt.latency"
    return Phrase(key, {"points": points})


def _size_key(rows: Sequence[Row]) -> str:
    return "perf.sizes_in_flight" if rows[0].closed_loop else "perf.batch_size"
