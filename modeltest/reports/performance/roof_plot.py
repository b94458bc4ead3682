"""The roofline: what the machine can do at most, and where each stage of each point stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modeltest.reports.performance.roofline import StageRoof
from modeltest.reports.performance.summary import Row
from modeltest.runlog.sweep_log import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = {"encoder": "^", "prefill": "s", "decode": "o"}
_COLOURS = {"encoder": "#7b4fa3", "prefill": "#2b9a8b", "decode": "#1f6fb2"}
_TERA = 1e12
_GIGA = 1e9


def draw_roofline(axes: Axes, rows: Sequence[Row], peaks: Record) -> None:
    """Useful FLOP/s against operations per byte, both logarithmic, below the two limits.

    Args:
        axes: To draw on.
        rows: One mode's points are drawn: the fixed one's where it was measured.
        peaks: The machine's limits.
    """
    from matplotlib.ticker import FuncFormatter

    chosen = [row for row in rows if row.mode == "fixed"] or list(rows)
    unit, name = (_TERA, "TFLOP/s") if peaks["flops_per_s"] >= _TERA else (_GIGA, "GFLOP/s")
    dots = list(_dots(chosen))
    bandwidth, flops = float(peaks["bandwidth_bytes_per_s"]), float(peaks["flops_per_s"])
    ridge = flops / bandwidth
    low = min([roof.intensity or ridge for _, _, roof in dots] + [ridge]) / 3
    high = max([roof.intensity or ridge for _, _, roof in dots] + [ridge]) * 4
    axes.plot(
        [low, ridge, high], [low * bandwidth / unit, flops / unit, flops / unit],
        color="#1d2733", linewidth=2, label=_limit_label(bandwidth, flops / unit, name),
    )  # fmt: skip
    for stage in dict.fromkeys(stage for _, stage, _ in dots):
        _draw_stage(axes, stage, [(row, roof) for row, name, roof in dots if name == stage], unit)
    if not all(row.valid for row, _, _ in dots):
        axes.plot([], [], "x", color="#b3261e", label="not valid")
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.set_xlim(low, high)
    axes.set_xlabel("useful operations per byte (FLOP/B)")
    axes.set_ylabel(f"useful {name}")
    axes.legend(
        frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0),
        title=f"{chosen[0].mode} output,\nsmallest batch (bs)\nto largest",
        title_fontsize=9,
        alignment="left",
    )  # fmt: skip


def _limit_label(bandwidth: float, flops: float, name: str) -> str:
    return f"limits: {bandwidth / _GIGA:.4g} GB/s,\n{flops:.4g} {name}"


def _dots(rows: Sequence[Row]) -> Iterator[tuple[Row, str, StageRoof]]:
    for row in rows:
        for stage, roof in (row.roofline.stages or {}).items():
            if stage in _MARKERS and roof.intensity and roof.flops_per_s:
                yield row, stage, roof


def _draw_stage(
    axes: Axes, stage: str, roofs: Sequence[tuple[Row, StageRoof]], unit: float
) -> None:
    """The stage's points joined in the order of batch sizes, the ends labelled."""
    colour, marker = _COLOURS[stage], _MARKERS[stage]
    places = [(roof.intensity or 0.0, roof.flops_per_s / unit) for _, roof in roofs]
    axes.plot(*zip(*places, strict=True), "-", color=colour, linewidth=1, zorder=2)
    for (row, _), place in zip(roofs, places, strict=True):
        face = colour if row.valid else "white"
        axes.plot(*place, marker, color=colour, markerfacecolor=face, markersize=7, zorder=3)
        if not row.valid:
            axes.plot(*place, "x", color="#b3261e", markersize=6, zorder=4)
    axes.plot([], [], marker, color=colour, label=stage)
    ends = {place: row.batch_size for (row, _), place in zip(roofs, places, strict=True)}
    for place in dict.fromkeys((places[0], places[-1])):
        # Right below: the points of a stage rise from left to right.
        axes.annotate(
            f"bs {ends[place]}", place, (6, -11), textcoords="offset points", fontsize=8,
            color=colour,
        )  # fmt: skip
