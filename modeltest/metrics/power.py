"""How many samples it takes to show that one run is not worse than another by a margin."""

from __future__ import annotations

import math

from modeltest.metrics.paired import null_variance

POWERS = (0.8, 0.9)
"""How often a PASS is wanted where it is deserved."""


def samples_needed(
    margin: float,
    discordance: float,
    power: float,
    difference: float = 0.0,
    design_effect: float = 1.0,
    confidence: float = 0.95,
) -> int | None:
    """Samples from which on the interval of B - A decides, with the power that is asked for.

    n = D * ((z_alpha * sqrt(V0) + z_power * sqrt(V1)) / (difference + margin))^2, rounded up,
    with V1 = discordance - difference^2 the variance of one sample's difference, V0 the same if
    the truth were -margin (`paired.null_variance`), z_alpha of the interval, D the design effect.

    Args:
        margin: The loss that does not matter, as a share, between 0 and 1.
        discordance: Share of samples on which just one of the runs is right, from 0 to 1.
        power: How often a decision is wanted, between 0.5 and 1.
        difference: B's true accuracy minus A's. Above -margin the decision is PASS, below FAIL.
        design_effect: At least 1: how many times the variance of independent samples it is;
            with m clips of each speaker about 1 + (m - 1) * their intraclass correlation.
        confidence: Of the two-sided interval.

    Returns:
        None where the difference is the margin: no number of samples decides.

    Raises:
        ValueError: An argument is out of its range.

    Source: Nam, "Establishing equivalence of two treatments and sample size requirements in
    matched-pairs design", Biometrics 53 (1997); the design effect is Kish's.
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin {margin} is not between 0 and 1")
    if not abs(difference) <= discordance <= 1:
        raise ValueError(f"discordance {discordance} does not fit a difference of {difference}")
    if not 0.5 <= power < 1:
        raise ValueError(f"power {power} is not between 0.5 and 1")
    if not design_effect >= 1:
        raise ValueError(f"design effect {design_effect} is below 1")
    distance = abs(difference + margin)
    if not distance:
        return None
    from scipy.stats import norm

    improved, regressed = (discordance + difference) / 2, (discordance - difference) / 2
    wanted = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(
        null_variance(improved, regressed, -margin)
    ) + float(norm.ppf(power)) * math.sqrt(discordance - difference * difference)
    return math.ceil(design_effect * (wanted / distance) ** 2)
