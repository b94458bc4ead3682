"""What a sweep will measure: its points, in which order, and how much of each."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["fixed", "natural"]
ClipSource = Literal["audio", "task median", "task"]
MODES: tuple[Mode, ...] = ("fixed", "natural")
MIN_PASSES = 3
MIN_DISTINCT_ROUNDS = 5
"""Rounds per point on clips that were never heard before, over all passes."""

REQUESTS_PER_LANE = 4
"""Requests of a round of a closed loop for each of those in flight.

While the last replies arrive fewer are in flight; with more requests that share is smaller.
"""

DISTINCT_SHARE = 0.2
"""Further such rounds may take this share of the time of the others, to steady their median."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measured setting.

    Attributes:
        batch_size: Requests per batch; in a closed loop those in flight.
        mode: `fixed` replies have all `max_new_tokens`, `natural` ones end by themselves.
    """

    batch_size: int
    mode: Mode

    def __str__(self) -> str:
        """As the terminal names it."""
        return f"batch size {self.batch_size}, {self.mode}"


@dataclass(frozen=True, slots=True)
class Block:
    """One visit of a point."""

    point: Point
    pass_number: int

    def record(self) -> dict[str, Any]:
        """What every log record of the block begins with."""
        return {
            "batch_size": self.point.batch_size,
            "mode": self.point.mode,
            "pass": self.pass_number,
        }


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """How a sweep is measured.

    Attributes:
        batch_sizes: Ascending, each once.
        modes: Which output modes, each once.
        max_new_tokens: Longest reply; in `fixed` mode every reply's length.
        num_passes: How often every point is visited.
        min_repeats: Fewest rounds per point, over all passes.
        min_seconds: Least measured time per point, over all passes, seconds.
        isolate: Each block in a process of its own.
        seed: Decides the order of the points and of a task's samples.
        clip_source: Where the clips come from.
        closed_loop: A service is measured: `batch_size` requests in flight, each reply lets
            the next one go, all points hear the clips in one order, and none is sent twice.
    """

    batch_sizes: tuple[int, ...]
    modes: tuple[Mode, ...]
    max_new_tokens: int
    num_passes: int
    min_repeats: int
    min_seconds: float
    isolate: bool
    seed: int
    clip_source: ClipSource
    closed_loop: bool = False

    @property
    def points(self) -> tuple[Point, ...]:
        """Every point, by batch size, then by mode."""
        return tuple(Point(size, mode) for size in self.batch_sizes for mode in self.modes)

    @property
    def block_repeats(self) -> int:
        """Fewest rounds of one block."""
        return math.ceil(self.min_repeats / self.num_passes)

    @property
    def block_seconds(self) -> float:
        """Least measured time of one block, seconds."""
        return self.min_seconds / self.num_passes

    def block_distinct(self, mode: Mode) -> int:
        """Fewest rounds of one block on clips that were never heard before."""
        if mode == "natural" or self.clip_source == "task" or self.closed_loop:
            return 0  # replies of other clips end elsewhere; the others' clips differ anyway
        return math.ceil(MIN_DISTINCT_ROUNDS / self.num_passes)

    def blocks(self) -> Iterator[Block]:
        """Every block in the order of measuring: shuffled anew in each pass, by the seed.

        A machine that warms up or slows down then touches all points alike.
        """
        for pass_number in range(self.num_passes):
            points = list(self.points)
            random.Random(f"order {self.seed} {pass_number}").shuffle(points)
            yield from (Block(point, pass_number) for point in points)

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "batch_sizes": list(self.batch_sizes),
            "modes": list(self.modes),
            "max_new_tokens": self.max_new_tokens,
            "num_passes": self.num_passes,
            "min_repeats": self.min_repeats,
            "min_seconds": self.min_seconds,
            "isolate": self.isolate,
            "seed": self.seed,
            "clip_source": self.clip_source,
            "closed_loop": self.closed_loop,
        }
