"""The one number that stands for a run, as lists and blocks of text show it."""

from __future__ import annotations

from dataclasses import dataclass

from modeltest.reports.performance.summary import SweepSummary
from modeltest.reports.performance.wording import short
from modeltest.reports.summary import Summary


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure with its interval.

    Attributes:
        metric: Its name in the CSV files.
        value: A fraction, or output tokens per second; None was not measured.
        ci_low: Lower end of the 95 % interval, or None.
        ci_high: Upper end.
        ci_method: How the interval was computed, or empty.
        where: To which point of a sweep it belongs; empty for accuracy.
    """

    metric: str
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str = ""
    where: str = ""

    @property
    def in_percent(self) -> bool:
        """Whether people read it in percent."""
        return self.metric != _THROUGHPUT

    @property
    def value_in_words(self) -> str:
        """The value for people, a dash where nothing was measured."""
        return "-" if self.value is None else self._shown(self.value)

    @property
    def interval_in_words(self) -> str:
        """The interval for people, a dash where there is none."""
        if self.ci_low is None or self.ci_high is None:
            return "-"
        return f"{self._shown(self.ci_low)}–{self._shown(self.ci_high)}"

    @property
    def in_short(self) -> str:
        """For a list: `acc 92.5 % (86.4–96.0)`, `123 tokens/s (120–126)`."""
        return self._words(decimals=1)

    def __str__(self) -> str:
        """`acc 92.50 % (86.36–96.00)`, `123 tokens/s (120–126)`."""
        return self._words(decimals=2)

    def _words(self, decimals: int) -> str:
        if self.value is None:
            return "-"
        value = self._shown(self.value, decimals)
        words = f"{self.metric} {value} %" if self.in_percent else f"{value} tokens/s"
        if self.ci_low is None or self.ci_high is None:
            return words
        return (
            f"{words} ({self._shown(self.ci_low, decimals)}–{self._shown(self.ci_high, decimals)})"
        )

    def _shown(self, value: float, decimals: int = 2) -> str:
        return f"{100 * value:.{decimals}f}" if self.in_percent else short(value)


_THROUGHPUT = "output_tokens_per_s"


def accuracy_headline(summary: Summary) -> Headline:
    """The accuracy, or what stands in its place."""
    metric, found = summary.headline
    if found is None:
        return Headline(metric, None)
    return Headline(metric, found.value, found.ci_low, found.ci_high, found.ci_method)


def sweep_headline(summary: SweepSummary) -> Headline:
    """The throughput of the best valid point; nothing where no point is valid."""
    best = summary.best
    if best is None or best.figures is None:
        return Headline(_THROUGHPUT, None)
    low, high = best.figures.interval or (None, None)
    value = best.figures.output_tokens_per_s
    return Headline(_THROUGHPUT, value, low, high, "block bootstrap", best.name)
