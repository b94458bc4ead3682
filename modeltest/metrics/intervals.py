"""How far a proportion may be from the truth."""

from __future__ import annotations

import math


def wilson(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Wilson's score interval of a binomial proportion, or None if `total` is 0.

    It treats the samples as independent; several clips of one speaker make it too narrow.

    Args:
        successes: Samples that count, 0 to `total`.
        total: All samples.
        confidence: Share of intervals that cover the truth, between 0 and 1.

    Returns:
        Lower and upper end, within [0, 1].

    Source: Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927); computed by scipy.
    """
    if total == 0:
        return None
    from scipy.stats import binomtest

    interval = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def standard_error(successes: int, total: int) -> float | None:
    """Standard error of a binomial proportion, sqrt(p (1 - p) / n), or None if `total` is 0.

    0 at p = 0 and p = 1, where only the interval tells what the sample size is worth.
    """
    if total == 0:
        return None
    share = successes / total
    return math.sqrt(share * (1 - share) / total)
