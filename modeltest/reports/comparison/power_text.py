"""How many samples a margin needs, as a table for planning."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from modeltest.metrics.power import POWERS, samples_needed
from modeltest.reports.comparison.wording import points

MARGINS = (0.005, 0.01, 0.02, 0.03)
DISCORDANCES = (0.005, 0.01, 0.02, 0.05, 0.1)


def power_text(margins: Sequence[float] = MARGINS) -> str:
    """Samples by how many of them flip, margin and power, for two equally accurate runs.

    Args:
        margins: As shares.
    """
    rows = [
        [f"{100 * discordance:g} %", *(_cell(margin, discordance) for margin in margins)]
        for discordance in DISCORDANCES
    ]
    headers = ["flips", *map(points, margins)]
    table = tabulate(
        rows, headers, tablefmt="simple", disable_numparse=True, colalign=["right"] * len(headers)
    )
    powers = " / ".join(f"{100 * power:.0f} %" for power in POWERS)
    return (
        "samples that a PASS needs, by margin, for a certainty of "
        f"{powers}\nif B is truly as accurate as A\n\n"
        f"{table}\n\n"
        "flips: share of the samples on which just one of the two runs is right\n"
        "several clips of each speaker: times the design effect that a comparison prints"
    )


def _cell(margin: float, discordance: float) -> str:
    return " / ".join(f"{samples_needed(margin, discordance, power):,}" for power in POWERS)
