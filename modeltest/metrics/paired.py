"""Two runs on the same samples: how far their accuracies are apart, and what that is worth.

A sample has improved when only run B is right on it, and regressed when only run A is. Both are
flips; all other samples are alike in both runs and tell nothing of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modeltest.metrics.cluster_bootstrap import cluster_interval, cluster_standard_error
from modeltest.metrics.intervals import BY_SPEAKER

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
TANGO = "tango"
BY_SPEAKER_AND_TANGO = f"{BY_SPEAKER}+{TANGO}"
_STEP = 1e-9


@dataclass(frozen=True, slots=True)
class PairedInterval:
    """Interval of a paired difference of shares.

    Attributes:
        low: Lower end, within [-1, 1].
        high: Upper end.
        method: `TANGO`, or `BY_SPEAKER_AND_TANGO`: at each end the wider of both intervals.
    """

    low: float
    high: float
    method: str


def paired_interval(
    differences: Sequence[int], speakers: Sequence[str] | None = None, confidence: float = 0.95
) -> PairedInterval:
    """Interval of the mean of `differences`, that is of B's accuracy minus A's.

    Resampled speakers know how alike the clips of one are, and know nothing else: with a
    handful of flips their interval is much too narrow, and without any it has no width. So it
    is never narrower than the score interval of as many independent samples as these are worth,
    which is their number over the design effect.

    Args:
        differences: Of every sample 1 (improved), -1 (regressed) or 0; at least one.
        speakers: `speakers[i]` is the speaker of sample i; None where they are not known.
        confidence: Share of intervals that cover the truth, between 0 and 1.

    Raises:
        ValueError: The sequences differ in length.
    """
    effect = design_effect(differences, speakers)
    improved, regressed = differences.count(1) / effect, differences.count(-1) / effect
    low, high = tango_interval(improved, regressed, len(differences) / effect, confidence)
    known = _with_several(speakers)
    resampled = None if known is None else cluster_interval(differences, known, confidence)
    if resampled is None:
        return PairedInterval(low, high, TANGO)
    return PairedInterval(min(low, resampled[0]), max(high, resampled[1]), BY_SPEAKER_AND_TANGO)


def _with_several(speakers: Sequence[str] | None) -> Sequence[str] | None:
    """Speakers of whom one has several samples; else samples are independent."""
    return speakers if speakers is not None and len(set(speakers)) < len(speakers) else None


def tango_interval(
    improved: float, regressed: float, total: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval of (improved - regressed) / total.

    It holds with few flips or none, too. It treats the samples as independent.

    Args:
        improved: Samples on which only B is right.
        regressed: Samples on which only A is right.
        total: All samples. The three may be fractions where samples are not worth a whole one.
        confidence: Share of intervals that cover the truth, between 0 and 1.

    Returns:
        Lower and upper end, within [-1, 1].

    Source: Tango, "Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design", Statistics in Medicine 17 (1998).
    """
    from scipy.stats import norm

    quantile = float(norm.ppf((1 + confidence) / 2))
    low = _tango_lower(improved, regressed, total, quantile)
    return low, -_tango_lower(regressed, improved, total, quantile)


def _tango_lower(improved: float, regressed: float, total: float, quantile: float) -> float:
    """The difference below the estimate from which the estimate is `quantile` errors away."""
    from scipy.optimize import brentq

    def excess(difference: float) -> float:
        variance = null_variance(improved / total, regressed / total, difference)
        return (improved - regressed) / total - difference - quantile * math.sqrt(variance / total)

    if regressed == total:
        return -1.0
    # At the estimate itself the variance can be 0, which would be a root, too.
    return float(brentq(excess, -1.0, (improved - regressed) / total - _STEP, xtol=1e-12))


def null_variance(improved: float, regressed: float, difference: float) -> float:
    """Variance of one sample's difference if the true one is `difference`.

    That is p_improved + p_regressed - difference^2 at the probabilities that fit the seen shares
    best (maximum likelihood) among those with p_improved - p_regressed = difference.

    Args:
        improved: Share of samples on which only B is right.
        regressed: Share on which only A is right.
        difference: From -1 to 1.

    Source: Nam, "Establishing equivalence of two treatments and sample size requirements in
    matched-pairs design", Biometrics 53 (1997); Tango (1998).
    """
    b = (2 - improved + regressed) * difference - improved - regressed
    c = -regressed * difference * (1 - difference)
    p_regressed = (math.sqrt(max(0.0, b * b - 8 * c)) - b) / 4
    return max(0.0, 2 * p_regressed + difference * (1 - difference))


def mcnemar_exact(improved: int, regressed: int) -> float:
    """Two-sided p-value of McNemar's exact test: could a fair coin have dealt the flips so?

    A large value does not say that the runs are equally accurate, only that these samples
    cannot tell them apart. 1 without any flip.

    Source: McNemar, Psychometrika 12 (1947), by the binomial distribution; computed by scipy.
    """
    if not improved + regressed:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(improved, improved + regressed).pvalue)


def design_effect(differences: Sequence[int], speakers: Sequence[str] | None) -> float:
    """How many times the variance of independent samples the difference's variance is.

    Args:
        differences: As of `paired_interval`.
        speakers: As of `paired_interval`.

    Returns:
        At least 1, and 1 where speakers or flips are lacking: what is not seen cannot be
        told from chance.

    Source: Kish, "Survey Sampling" (1965), section 8.2.
    """
    known = _with_several(speakers)
    error = None if known is None else cluster_standard_error(differences, known)
    total = len(differences)
    mean = sum(differences) / total
    variance = sum(map(abs, differences)) / total - mean * mean
    if error is None or not variance:
        return 1.0
    return max(1.0, error * error * total / variance)


def non_inferiority(low: float, high: float, margin: float) -> Outcome:
    """Whether B is not worse than A by more than a margin, by the interval of B - A.

    PASS where the whole interval is above -margin, which is a one-sided test at half of what
    the interval leaves out (2.5 % of a 95 % one). FAIL where all of it is below: B is worse by
    more than the margin. A difference that is significant and smaller than the margin is a PASS.

    Args:
        low: Lower end of the interval.
        high: Upper end.
        margin: The loss that does not matter, above 0, as a share.
    """
    if low > -margin:
        return "PASS"
    return "FAIL" if high < -margin else "INCONCLUSIVE"
