"""How far a proportion may be from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modeltest.metrics.cluster_bootstrap import (
    MIN_CLUSTERS,
    totals_interval,
    totals_standard_error,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BOOTSTRAP = "bootstrap"
BY_SPEAKER = "cluster-bootstrap(speaker)"
WILSON = "wilson"


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a figure may be from the truth.

    Attributes:
        low: Lower end of the 95 % interval, or None where there is none.
        high: Upper end.
        method: How the interval was computed; empty where there is none.
        stderr: Standard error, or None.
    """

    low: float | None = None
    high: float | None = None
    method: str = ""
    stderr: float | None = None


def share_spread(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> Spread:
    """The spread of a share of samples, by speaker where speakers have several samples.

    - No speaker has more than one sample, or there are fewer than `MIN_CLUSTERS` speakers:
      Wilson's interval.
    - Otherwise the cluster bootstrap; but where all speakers have the same share, as when all
      is right, it has nothing to resample: Wilson's interval, too. Near 0 and 1, where that
      happens, it is wide enough for speakers' samples that go together.

    Args:
        sums: Samples of each speaker that count, shape `(speakers,)`.
        counts: All samples of each speaker, same shape.
    """
    sums, counts = sums[counts > 0], counts[counts > 0]
    if len(counts) >= MIN_CLUSTERS and counts.max() > 1 and (ends := totals_interval(sums, counts)):
        return Spread(*ends, BY_SPEAKER, totals_standard_error(sums, counts))
    return wilson_spread(round(float(sums.sum())), round(float(counts.sum())))


def wilson_spread(successes: int, total: int) -> Spread:
    """Wilson's interval and the binomial standard error; nothing without samples."""
    interval = wilson(successes, total)
    return Spread(*interval, WILSON, standard_error(successes, total)) if interval else Spread()


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
