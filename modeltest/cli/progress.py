"""Progress for people: a bar on a terminal, a line every 30 seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from modeltest.protocols import Progress

PLAIN_INTERVAL_S = 30.0


class TerminalProgress:
    """A tqdm bar with rate and remaining time, on standard error."""

    def __init__(self, unit: str = "sample") -> None:
        self._unit = unit
        self._bar: Any = None

    def start(self, total: int, label: str) -> None:
        """Draws an empty bar."""
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # its thread would draw while something is timed
        self._bar = tqdm(total=total, desc=label, unit=self._unit, file=sys.stderr, leave=False)

    def advance(self, steps: int) -> None:
        """Moves the bar."""
        self._bar.update(steps)

    def finish(self) -> None:
        """Clears the bar."""
        self._bar.close()


class PlainProgress:
    """One line every 30 seconds, for logs and pipes."""

    def __init__(
        self, stream: TextIO, interval_s: float = PLAIN_INTERVAL_S, unit: str = "sample"
    ) -> None:
        self._stream = stream
        self._unit = unit
        self._interval_s = interval_s
        self._total = self._done = 0
        self._label = ""
        self._start_s = self._shown_s = 0.0

    def start(self, total: int, label: str) -> None:
        """Remembers when the work began."""
        self._total, self._done, self._label = total, 0, label
        self._start_s = self._shown_s = time.monotonic()

    def advance(self, steps: int) -> None:
        """Prints a line when the last one is old enough."""
        self._done += steps
        now_s = time.monotonic()
        if now_s - self._shown_s < self._interval_s or not self._done:
            return
        self._shown_s = now_s
        rate = self._done / (now_s - self._start_s)
        left_s = (self._total - self._done) / rate
        print(
            f"{self._label}: {self._done}/{self._total} {self._unit}s, {rate:.2f}/s, "
            f"about {duration(left_s)} left",
            file=self._stream,
            flush=True,
        )

    def finish(self) -> None:
        """Nothing is left to draw."""


def make_progress(unit: str = "sample") -> Progress:
    """A bar when somebody watches, else lines; `unit` names one step."""
    if sys.stderr.isatty():
        return TerminalProgress(unit)
    return PlainProgress(sys.stderr, unit=unit)


def duration(seconds: float) -> str:
    """Seconds as `45 s`, `12 min` or `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
