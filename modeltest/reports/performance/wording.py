"""Figures as a reader wants them: three digits, no exponents."""

from __future__ import annotations

import math

_MOST_DECIMALS = 5


def short(value: float) -> str:
    """Three significant digits, whole numbers from 100 on: 0.0123, 1.23, 12.3, 123, 1234."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(decimals, 0), _MOST_DECIMALS)}f}"


def percent(share: float, decimals: int = 0) -> str:
    """A share in percent."""
    return f"{100 * share:.{decimals}f} %"


def signed_percent(share: float) -> str:
    """A change in percent, with its sign."""
    return f"{100 * share:+.1f} %"


def point_name(batch_size: int, mode: str, closed_loop: bool) -> str:
    """A point for a sentence: `bs 8 fixed`, or of a service `8 in flight, fixed`."""
    return f"{batch_size} in flight, {mode}" if closed_loop else f"bs {batch_size} {mode}"
