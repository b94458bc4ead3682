"""Are repeated clips answered from memory? Copies against distinct clips of the same length.

Both kinds of rounds take turns inside each pass, and each round of distinct clips is compared
with the rounds of copies right before and behind it. What slows the machine for longer than a
round slows both and leaves their ratio alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modeltest.metrics.block_bootstrap import median_interval
from modeltest.metrics.timing import percentile
from modeltest.reports.performance.figures import round_s
from modeltest.reports.performance.wording import percent, signed_percent
from modeltest.runlog.sweep_log import Record

GAIN_LIMIT = 0.10
SHORTEST_ROUND_S = 0.001
"""In shorter rounds the jitter of clock and scheduler is as large as what is looked for."""


@dataclass(frozen=True, slots=True)
class CacheCheck:
    """How much longer distinct clips take than copies, as a share: 0.1 is 10 %.

    Attributes:
        gain: Median over the pairs.
        interval: Its 95 % interval, by the bootstrap over passes; None below two passes.
        num_pairs: Rounds of distinct clips with a neighbour to compare with.
        copies_s: Median time of a round of copies.
    """

    gain: float
    interval: tuple[float, float] | None
    num_pairs: int
    copies_s: float

    @property
    def too_short(self) -> bool:
        """Whether the rounds are too short to tell anything."""
        return self.copies_s < SHORTEST_ROUND_S

    def reason(self) -> str:
        """Why the point is not valid, or nothing: the whole interval is above the limit."""
        if self.too_short or self.interval is None or self.interval[0] <= GAIN_LIMIT:
            return ""
        return (
            f"repeated clips are {percent(self.gain)} faster than distinct ones "
            f"({self.figures()}), limit {percent(GAIN_LIMIT)}: a cache is at work"
        )

    def note(self) -> str:
        """What the check could not tell, or nothing."""
        if self.too_short:
            return f"cache check: rounds below {1000 * SHORTEST_ROUND_S:g} ms tell nothing"
        if self.interval is None:
            return "cache check: a single pass tells nothing"
        if self.interval[0] <= GAIN_LIMIT < self.interval[1]:
            return (
                f"cache check: undecided, the times vary too much to exclude {percent(GAIN_LIMIT)}"
            )
        return ""

    def figures(self) -> str:
        """Interval and number of pairs, for a person."""
        if self.interval is None:
            return f"{self.num_pairs} pairs"
        low, high = map(signed_percent, self.interval)
        return f"95 % interval {low} to {high}, {self.num_pairs} pairs"


def check_cache(rounds: Sequence[Record]) -> CacheCheck | None:
    """Compares the distinct rounds of a point with the copies beside them.

    Args:
        rounds: All rounds of a point whose replies have a fixed length.

    Returns:
        None where there is no such pair.
    """
    passes: dict[int, list[Record]] = {}
    for record in rounds:
        if round_s(record) > 0:
            passes.setdefault(int(record["pass"]), []).append(record)
    blocks = [ratios for number in sorted(passes) if (ratios := list(_ratios(passes[number])))]
    pairs = [ratio for block in blocks for ratio in block]
    if not pairs:
        return None
    ends = median_interval(blocks)
    copies = [round_s(record) for record in rounds if record["kind"] == "copies"]
    return CacheCheck(
        gain=percentile(pairs, 50) - 1,
        interval=None if ends is None else (ends[0] - 1, ends[1] - 1),
        num_pairs=len(pairs),
        copies_s=percentile(copies, 50),
    )


def _ratios(block: Sequence[Record]) -> Iterator[float]:
    """Each distinct round's time over the mean of the copies that touch it."""
    ordered = sorted(block, key=lambda record: float(record["start_s"]))
    for place, record in enumerate(ordered):
        if record["kind"] != "distinct":
            continue
        beside = ordered[max(0, place - 1) : place + 2]
        copies = [round_s(other) for other in beside if other["kind"] == "copies"]
        if copies:
            yield round_s(record) * len(copies) / sum(copies)
