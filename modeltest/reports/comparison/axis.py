"""The axis of small pictures of intervals, in the units of the picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LEFT, WIDTH = 8, 184


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval in a picture; what leaves the axis ends at its edge.

    Attributes:
        low: Where the line starts.
        at: Where the value is; None beyond the axis.
        high: Where the line ends.
    """

    low: str
    at: str | None
    high: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From the smallest value to the largest one.

    Attributes:
        low: At the left edge.
        high: At the right edge.
    """

    low: float
    high: float

    def place(self, value: float) -> str:
        """Where a value is, at the edge if it is beyond."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return f"{LEFT + WIDTH * share:.1f}"

    def interval(self, low: float, value: float, high: float) -> Interval:
        """A value with its interval."""
        is_within = self.low <= value <= self.high
        return Interval(self.place(low), self.place(value) if is_within else None, self.place(high))


def axis_around(values: Iterable[float]) -> Axis:
    """An axis that holds all values and a little more."""
    found = list(values)
    low, high = min(found), max(found)
    more = 0.08 * (high - low) or 0.05
    return Axis(low - more, high + more)
