"""The times of a run's requests as what a picture needs: over the run, and how often each."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from statistics import median
from typing import Any

from modeltest.runlog.run_log import RunContent

_MIN_TIMES = 8
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 630, 22, 212
_MAX_DOTS = 4_000
_NUM_BINS = 40
_NUM_MEDIANS = 100
_OUTLIER = 4.0
_LABEL_GAP = 3


@dataclass(frozen=True, slots=True)
class TimingPlot:
    """Two pictures of the same times, in picture units, and what they say in words.

    Attributes:
        num_samples: Samples with a time.
        p50: Median, and so on; seconds, as text.
        first_tenth: Median of the first tenth of the run, seconds, as text.
        last_tenth: Of the last.
        top: The largest time that is drawn, seconds, as text.
        num_above: How many are longer; they are drawn at the top.
        step: Every so many samples one is drawn.
        sound_dots: A path with a dot per correct sample.
        other_dots: The others.
        median_line: A path: the running median.
    """

    num_samples: int
    p50: str
    p90: str
    p99: str
    first_tenth: str
    last_tenth: str
    top: str
    num_above: int
    step: int
    sound_dots: str
    other_dots: str
    median_line: str
    y_ticks: list[dict[str, Any]]
    x_ticks: list[dict[str, Any]]
    count_ticks: list[dict[str, Any]]
    time_ticks: list[dict[str, Any]]
    bars: list[dict[str, Any]]
    marks: list[dict[str, Any]]
    left: int = _LEFT
    right: int = _RIGHT
    top_px: int = _TOP
    bottom: int = _BOTTOM


def timing_plot(run: RunContent) -> TimingPlot | None:
    """The times of a run in the order in which its samples were asked; None of few.

    Longest clips are asked first and samples with clips of one length in the task's order, so
    that order follows from the log, whatever worker asked.
    """
    import numpy as np

    lengths, times, sound = array("d"), array("d"), array("b")
    for record in run.samples:
        time_s = (record["response"]["timing"] or {}).get("e2e_s")
        if time_s is not None:
            lengths.append(sum(clip["duration_s"] for clip in record["clips"]))
            times.append(time_s)
            sound.append(bool(record["score"]["correct"]))
    if len(times) < _MIN_TIMES:
        return None
    asked = np.argsort(-np.asarray(lengths), kind="stable")
    return _plot(array("d", np.asarray(times)[asked]), array("b", np.asarray(sound)[asked]))


def _plot(times: Sequence[float], sound: Sequence[int]) -> TimingPlot:
    import numpy as np

    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    top = max(times) if max(times) <= _OUTLIER * p99 else 1.5 * p99
    top = top or 1.0
    y_step = _step(top)
    top = y_step * ceil(top / y_step - 1e-9)
    step = ceil(len(times) / _MAX_DOTS)
    x_of = _scale(0, len(times) - 1, _LEFT + 4, _RIGHT - 4)
    y_of = _scale(0, top, _BOTTOM, _TOP)
    dots: dict[bool, list[str]] = {True: [], False: []}
    for place in range(0, len(times), step):
        x, y = x_of(place), y_of(min(times[place], top))
        dots[bool(sound[place])].append(f"M{_short(x)} {_short(y)}h0")
    tenth = max(1, len(times) // 10)
    counts = _counts(times, top)
    return TimingPlot(
        num_samples=len(times),
        p50=f"{p50:.3g}",
        p90=f"{p90:.3g}",
        p99=f"{p99:.3g}",
        first_tenth=f"{median(times[:tenth]):.3g}",
        last_tenth=f"{median(times[-tenth:]):.3g}",
        top=f"{top:.3g}",
        num_above=sum(time > top for time in times),
        step=step,
        sound_dots="".join(dots[True]),
        other_dots="".join(dots[False]),
        median_line=_median_line(times, top),
        y_ticks=_ticks(top, y_step, y_of),
        x_ticks=_ticks(len(times) - 1, max(1, _step(len(times) - 1)), x_of),
        count_ticks=_ticks(max(counts), max(1, _step(max(counts))), _count_scale(counts)),
        time_ticks=_ticks(top, y_step, _scale(0, top, _LEFT, _RIGHT)),
        bars=_bars(counts, top),
        marks=_marks({"p50": p50, "p90": p90, "p99": p99}, top),
    )


def _median_line(times: Sequence[float], top: float) -> str:
    half = max(4, len(times) // 50)
    x_of = _scale(0, len(times) - 1, _LEFT + 4, _RIGHT - 4)
    y_of = _scale(0, top, _BOTTOM, _TOP)
    num = min(_NUM_MEDIANS, len(times))
    places = [round(each * (len(times) - 1) / (num - 1)) for each in range(num)]
    points = [
        f"{_short(x_of(place))} {_short(y_of(min(top, median(around))))}"
        for place in places
        for around in [times[max(0, place - half) : place + half + 1]]
    ]
    return "M" + "L".join(points)


def _counts(times: Sequence[float], top: float) -> list[int]:
    """How many times lie in each of equal parts of 0 to `top`; longer ones count as the last."""
    edges = [top * number / _NUM_BINS for number in range(1, _NUM_BINS)]
    counts = [0] * _NUM_BINS
    for time in times:
        counts[bisect_right(edges, time)] += 1
    return counts


def _bars(counts: Sequence[int], top: float) -> list[dict[str, Any]]:
    width = (_RIGHT - _LEFT) / _NUM_BINS
    y_of = _count_scale(counts)
    return [
        {
            "x": _short(_LEFT + width * number + 0.5),
            "y": _short(y_of(count)),
            "width": _short(width - 1),
            "height": _short(_BOTTOM - y_of(count)),
            "range": f"{top * number / _NUM_BINS:.3g} – {top * (number + 1) / _NUM_BINS:.3g} s",
            "count": count,
        }
        for number, count in enumerate(counts)
        if count
    ]


def _marks(quantile_s: dict[str, float], top: float) -> list[dict[str, Any]]:
    x_of = _scale(0, top, _LEFT, _RIGHT)
    places = [x_of(min(time, top)) for time in quantile_s.values()]
    return [
        {
            "at": _short(place),
            "label": name,
            "label_x": _short(place + (_LABEL_GAP if place < _RIGHT - 40 else -_LABEL_GAP)),
            "label_y": _TOP + 10 + 13 * number,
            "anchor": "start" if place < _RIGHT - 40 else "end",
        }
        for number, (name, place) in enumerate(zip(quantile_s, places, strict=True))
    ]


def _count_scale(counts: Sequence[int]) -> Any:
    return _scale(0, max(counts), _BOTTOM, _TOP)


def _scale(low: float, high: float, start: float, end: float) -> Any:
    """A function from values to picture units."""
    span = (high - low) or 1
    return lambda value: start + (end - start) * (value - low) / span


def _ticks(high: float, step: float, place_of: Any) -> list[dict[str, Any]]:
    return [
        {"at": float(_short(place_of(step * number))), "label": f"{step * number:.4g}"}
        for number in range(floor(high / step + 1e-9) + 1)
    ]


def _step(high: float) -> float:
    """A round step of which three to seven make up `high`."""
    rough = high / 5
    size = 10.0 ** floor(log10(rough)) if rough > 0 else 1.0
    return size * next(factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
