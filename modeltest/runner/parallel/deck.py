"""Which batches wait for a worker; one that was lost with its worker is dealt again."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from modeltest.runner.batches import Batch

MAX_DEALS = 3
"""A batch whose worker ended is dealt again at most twice."""


@dataclass(slots=True)
class Deal:
    """A batch on its way.

    Attributes:
        number: Its place in the plan; the costliest batch is 0.
        batch: Its samples; only a worker decodes them.
        num_lost: How often a worker ended while it held this.
    """

    number: int
    batch: Batch
    num_lost: int = 0

    def __lt__(self, other: Deal) -> bool:
        return self.number < other.number


class Deck:
    """Batches in the order of their plan, the longest clips first.

    A worker takes the next one when it is free, so the costly ones are under way first and
    what is left at the end is short: list scheduling of the longest processing time first, at
    most 4/3 of the shortest possible (Graham, 1969).
    """

    def __init__(self, batches: Iterable[Batch], first: int = 0) -> None:
        """Takes the batches that are not done; `first` is the number of the first one."""
        self._waiting = [
            Deal(number, batch) for number, batch in enumerate(batches, first) if not batch.is_done
        ]  # in order, which is a heap

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def next_was_lost(self) -> bool:
        """Whether the next one was lost with a worker before."""
        return bool(self._waiting) and self._waiting[0].num_lost > 0

    def take(self) -> Deal | None:
        """The costliest batch that waits, or None."""
        return heapq.heappop(self._waiting) if self._waiting else None

    def put_back(self, deal: Deal) -> None:
        """Lets a batch wait again that a worker had and did not answer."""
        heapq.heappush(self._waiting, deal)
