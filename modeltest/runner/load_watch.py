"""What else went on while something was timed: other processes, a machine that slept.

Sources: proc_stat(5) for the cores' busy time, clock_gettime(2) for the clock that goes on
while the machine is suspended. Where a system has neither, nothing is claimed.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

_PROC_STAT = Path("/proc/stat")
_WINDOW_S = 1.0
# The kernel counts in ticks of 10 ms per core: a shorter look says nothing.
_SHORTEST_LOOK_S = 0.5
_IDLE_FIELDS = (3, 4)  # idle, iowait
_COUNTED_FIELDS = 8  # up to steal: guest time, behind it, is part of user time


@dataclass(frozen=True, slots=True)
class _Look:
    at_s: float
    busy_s: float
    own_s: float


class LoadWatch:
    """How busy other processes kept the cores that this process may use."""

    def __init__(self, proc_stat: Path = _PROC_STAT) -> None:
        self._proc_stat = proc_stat
        self._cores = _usable_cores()
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")
        self._looks: deque[_Look] = deque()

    def begin(self) -> None:
        """Call before what is timed, outside of it."""
        look = self._look()
        if look is None:
            self._looks.clear()
            return
        # The newest look that is a window old makes all older ones superfluous.
        while len(self._looks) > 1 and self._looks[1].at_s <= look.at_s - _WINDOW_S:
            self._looks.popleft()
        self._looks.append(look)

    def other_load(self) -> float | None:
        """Share of the cores' time that went to other processes; call behind what is timed.

        A round that is shorter than a second is judged together with what went before it,
        up to about a second back.

        Returns:
            From 0 to 1; None where it cannot be told.
        """
        now = self._look()
        if now is None or not self._looks or not self._cores:
            return None
        first = self._looks[0]
        elapsed_s = now.at_s - first.at_s
        busy_s, own_s = now.busy_s - first.busy_s, now.own_s - first.own_s
        # A sandbox whose counters stand still tells nothing.
        if elapsed_s < _SHORTEST_LOOK_S or busy_s < 0.5 * own_s:
            return None
        return min(max(busy_s - own_s, 0.0) / (elapsed_s * len(self._cores)), 1.0)

    def _look(self) -> _Look | None:
        busy_s = self._busy_s()
        if busy_s is None:
            return None
        times = os.times()
        own_s = time.process_time() + times.children_user + times.children_system
        return _Look(time.monotonic(), busy_s, own_s)

    def _busy_s(self) -> float | None:
        """Busy seconds of the usable cores since the machine started."""
        try:
            lines = self._proc_stat.read_text(encoding="ascii").splitlines()
            ticks = 0
            for line in lines:
                name, *fields = line.split()
                if name in self._cores:
                    counts = [int(field) for field in fields[:_COUNTED_FIELDS]]
                    ticks += sum(counts) - sum(counts[i] for i in _IDLE_FIELDS)
        except (OSError, ValueError, IndexError):
            return None
        return ticks * self._tick_s


def suspended_s() -> float:
    """How long the machine was suspended since it started, seconds; 0 where nobody knows."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def _usable_cores() -> frozenset[str]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(f"cpu{core}" for core in os.sched_getaffinity(0))
    return frozenset()
