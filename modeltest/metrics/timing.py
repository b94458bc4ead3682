"""Figures over durations: percentiles, time per token, spread, drift, outliers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

MIN_OBSERVATIONS_P90 = 64
"""A 90th percentile of fewer observations says nothing at 99 % confidence (MLPerf's rule)."""
MIN_OBSERVATIONS_P99 = 662
"""The same for a 99th percentile."""
OUTLIER_LIMIT = 14.826
"""Ten standard deviations of a normal distribution, counted in median absolute deviations."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile by linear interpolation between order statistics (numpy's `linear`).

    Args:
        values: At least one.
        percent: 0 to 100.
    """
    return float(np.percentile(np.asarray(values, dtype=np.float64), percent))


def median(values: Iterable[float | None]) -> float | None:
    """The median, or None when one of the values was not measured or there are none."""
    measured = list(values)
    if not measured or any(value is None for value in measured):
        return None
    return float(np.median(np.asarray(measured, dtype=np.float64)))


def p90(values: Sequence[float]) -> float | None:
    """The 90th percentile, or None below `MIN_OBSERVATIONS_P90` observations.

    Source: MLPerf Inference rules: 64 queries are the fewest from which a 90th percentile
    can be told at 99 % confidence with at most one query above it.
    """
    return percentile(values, 90) if len(values) >= MIN_OBSERVATIONS_P90 else None


def p99(values: Sequence[float]) -> float | None:
    """The 99th percentile, or None below `MIN_OBSERVATIONS_P99` observations; see `p90`."""
    return percentile(values, 99) if len(values) >= MIN_OBSERVATIONS_P99 else None


def time_per_output_token_s(e2e_s: float, ttft_s: float | None, tokens: int) -> float | None:
    """TPOT: (e2e - TTFT) / (tokens - 1), seconds; None for one token or an unknown TTFT.

    Args:
        e2e_s: From the request to the last reply of the batch.
        ttft_s: From the request to the first token.
        tokens: New tokens of the batch's longest reply.
    """
    if ttft_s is None or tokens < 2:
        return None
    return (e2e_s - ttft_s) / (tokens - 1)


def coefficient_of_variation(values: Sequence[float]) -> float | None:
    """Standard deviation (n - 1) over mean, or None below two values or at a mean of 0."""
    if len(values) < 2 or not (mean := float(np.mean(values))):
        return None
    return float(np.std(values, ddof=1)) / mean


def drift(values: Sequence[float]) -> float | None:
    """How far the last third's median lies from the first third's, as a share of the latter.

    Args:
        values: In the order of measuring.

    Returns:
        Positive when the values grow; None below three values, or where the first third's
        median is 0.
    """
    third = len(values) // 3
    if third == 0:
        return None
    first, last = float(np.median(values[:third])), float(np.median(values[-third:]))
    return last / first - 1 if first else None


def modified_z_scores(values: Sequence[float]) -> list[float]:
    """(x - median) / MAD of each value, MAD being the median absolute deviation.

    With a MAD of 0 a value that differs at all is infinitely far away.

    Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993), in the form of
    hyperfine's outlier detection: not multiplied by 0.6745, which is why `OUTLIER_LIMIT` is
    14.826 there and stands for ten standard deviations.
    """
    measured = np.asarray(values, dtype=np.float64)
    deviations = measured - np.median(measured)
    spread = float(np.median(np.abs(deviations)))
    if spread == 0:
        return [math.copysign(math.inf, d) if d else 0.0 for d in deviations.tolist()]
    return [float(score) for score in deviations / spread]


def num_outliers(values: Sequence[float], least: float = 0.0) -> int:
    """Values whose modified z-score is above `OUTLIER_LIMIT` in either direction.

    Args:
        values: All observations.
        least: A value nearer to the median than this is no outlier: where nearly all values
            are equal, the smallest difference would be ten standard deviations.
    """
    if not values:
        return 0
    middle = percentile(values, 50)
    return sum(
        abs(score) > OUTLIER_LIMIT and abs(value - middle) >= least
        for value, score in zip(values, modified_z_scores(values), strict=True)
    )
