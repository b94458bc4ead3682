"""The roofline: what the machine can do at most, and where each stage of each point stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modeltest.reports.performance.palette import BAD, INK, PAGE, STAGE_COLOURS
from modeltest.reports.performance.plot_words import PlotWords
from modeltest.reports.performance.roofline import StageRoof
from modeltest.reports.performance.summary import Row
from modeltest.reports.performance.wording import short
from modeltest.runlog.sweep_log import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = {"encoder": "^", "prefill": "s", "decode": "o"}
_TERA = 1e12
_GIGA = 1e9


def draw_roofline(axes: Axes, rows: Sequence[Row], peaks: Record, say: PlotWords) -> None:
    """Useful FLOP/s against operations per byte, both logarithmic, below the two limits.

    Args:
        axes: To draw on.
        rows: One mode's points.
        peaks: The machine's limits.
        say: The words.
    """
    unit, name = (_TERA, "TFLOP/s") if peaks["flops_per_s"] >= _TERA else (_GIGA, "GFLOP/s")
    dots = list(_dots(rows))
    bandwidth, flops = float(peaks["bandwidth_bytes_per_s"]), float(peaks["flops_per_s"])
    ridge = flops / bandwidth
    low = min([roof.intensity or ridge for _, _, roof in dots] + [ridge]) / 3
    high = max([roof.intensity or ridge for _, _, roof in dots] + [ridge]) * 4
    memory = say("perf.plot.memory_limit", limit=f"{short(bandwidth / _GIGA)} GB/s")
    computing = say("perf.plot.compute_limit", limit=f"{short(flops / unit)} {name}")
    for label, style, ends in (
        (memory, "-", [(low, low * bandwidth / unit), (ridge, flops / unit)]),
        (computing, "--", [(ridge, flops / unit), (high, flops / unit)]),
    ):
        axes.plot(*zip(*ends, strict=True), style, color=INK, linewidth=2, label=label)
    for stage in dict.fromkeys(stage for _, stage, _ in dots):
        _draw_stage(axes, stage, [(row, roof) for row, name, roof in dots if name == stage], unit)
    if not all(row.valid for row, _, _ in dots):
        axes.plot([], [], "x", color=BAD, label=say("perf.plot.crossed"))
    _log_axes(axes)
    axes.set_xlim(low, high)
    axes.set_xlabel(say("perf.plot.intensity"))
    axes.set_ylabel(say("perf.plot.useful_rate", unit=name))
    axes.legend(
        frameon=False, fontsize=9.5, loc="upper left", bbox_to_anchor=(1.01, 1.0),
        title=say("perf.plot.of_mode", mode=rows[0].mode), title_fontsize=9.5, alignment="left",
    )  # fmt: skip


def _log_axes(axes: Axes) -> None:
    """Both logarithmic, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _dots(rows: Sequence[Row]) -> Iterator[tuple[Row, str, StageRoof]]:
    for row in rows:
        for stage, roof in (row.roofline.stages or {}).items():
            if stage in _MARKERS and roof.intensity and roof.flops_per_s:
                yield row, stage, roof


def _draw_stage(
    axes: Axes, stage: str, roofs: Sequence[tuple[Row, StageRoof]], unit: float
) -> None:
    """The stage's points joined in the order of batch sizes, the ends labelled."""
    colour, marker = STAGE_COLOURS[stage], _MARKERS[stage]
    places = [(roof.intensity or 0.0, roof.flops_per_s / unit) for _, roof in roofs]
    axes.plot(*zip(*places, strict=True), "-", color=colour, linewidth=1, zorder=2)
    for (row, _), place in zip(roofs, places, strict=True):
        face = colour if row.valid else PAGE
        axes.plot(*place, marker, color=colour, markerfacecolor=face, markersize=7, zorder=3)
        if not row.valid:
            axes.plot(*place, "x", color=BAD, markersize=6, zorder=4)
    axes.plot([], [], marker, color=colour, label=stage)
    # Below the first and right of the last: they cannot meet, and lie on no limit.
    for end, offset, side in ((-1, (9, -3), "left"), (0, (0, -14), "center")):
        if end or places[0] != places[-1]:
            text = f"bs {roofs[end][0].batch_size}"
            axes.annotate(
                text, places[end], offset, textcoords="offset points", ha=side, fontsize=9
            )
