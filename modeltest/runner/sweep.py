"""Runs the blocks of a sweep that the run log lacks; a failing point costs its row only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

from modeltest.protocols import Progress
from modeltest.runlog.segment import SegmentWriter
from modeltest.runlog.sweep_log import SweepContent
from modeltest.runner.recovery import OUT_OF_MEMORY
from modeltest.runner.sweep_plan import Block, Mode, Point, SweepSettings


@dataclass(frozen=True, slots=True)
class Logged:
    """What the run log holds already.

    Attributes:
        blocks: Complete blocks.
        failures: Points that could not be measured, and why.
        works: Points whose work is known.
        has_peaks: The machine's limits are known.
        num_asked: Requests of each point's complete blocks.
    """

    blocks: frozenset[Block] = frozenset()
    failures: Mapping[Point, str] = field(default_factory=dict)
    works: frozenset[Point] = frozenset()
    has_peaks: bool = False
    num_asked: Mapping[Point, int] = field(default_factory=dict)


MeasureBlock = Callable[[Block, Logged], str]
"""Measures one block into the log; returns why it could not, or nothing."""


def what_is_logged(content: SweepContent) -> Logged:
    """What a resumed sweep need not measure again."""
    num_asked: Counter[Point] = Counter()
    for record in content.rounds:
        point = _point(record["batch_size"], record["mode"])
        num_asked[point] += sum(len(batch["output_tokens"]) for batch in record["batches"])
    return Logged(
        blocks=frozenset(
            Block(_point(size, mode), number) for size, mode, number in content.blocks
        ),
        failures={
            _point(record["batch_size"], record["mode"]): str(record["reason"])
            for record in content.failures
        },
        works=frozenset(_point(record["batch_size"], record["mode"]) for record in content.works),
        has_peaks=content.peaks is not None,
        num_asked=num_asked,
    )


def missing_blocks(settings: SweepSettings, logged: Logged) -> list[Block]:
    """What is left to measure, in the sweep's order; points that failed are left out."""
    return [
        block
        for block in settings.blocks()
        if block not in logged.blocks and block.point not in logged.failures
    ]


def run_blocks(
    settings: SweepSettings,
    logged: Logged,
    measure: MeasureBlock,
    log: SegmentWriter,
    progress: Progress,
) -> None:
    """Measures every block that the log lacks.

    A point that fails is given up, and for want of memory all larger batch sizes of its mode
    that were never measured: they would fail the same way.

    Args:
        settings: The sweep.
        logged: What is there already.
        measure: Measures one block.
        log: Receives the failures.
        progress: Told of each block, outside the timed regions.
    """
    missing = missing_blocks(settings, logged)
    failures, works = dict(logged.failures), set(logged.works)
    measured = {block.point for block in logged.blocks}
    has_peaks = logged.has_peaks
    progress.start(len(missing), "measuring")
    try:
        for block in missing:
            if block.point not in failures:
                known = replace(
                    logged, failures=failures, works=frozenset(works), has_peaks=has_peaks
                )
                reason = measure(block, known)
                if reason:
                    lost = dict(_given_up(settings, block.point, reason, measured))
                    for point, why in lost.items():  # in their order, the failed one first
                        if point not in failures:
                            log.append(_failure_record(point, why))
                    failures = {**lost, **failures}
                else:
                    has_peaks = True
                    measured.add(block.point)
                    works.add(block.point)
            progress.advance(1)
    finally:
        log.sync()
        progress.finish()


def _given_up(
    settings: SweepSettings, failed: Point, reason: str, measured: set[Point]
) -> Iterator[tuple[Point, str]]:
    yield failed, reason
    if reason != OUT_OF_MEMORY:
        return
    for point in settings.points:
        larger = point.mode == failed.mode and point.batch_size > failed.batch_size
        if larger and point not in measured:
            yield point, f"{OUT_OF_MEMORY} at batch size {failed.batch_size}"


def _failure_record(point: Point, reason: str) -> dict[str, object]:
    return {"type": "point_failure", **asdict(point), "reason": reason}


def _point(batch_size: int, mode: str) -> Point:
    return Point(batch_size, _MODES[mode])


_MODES: Mapping[str, Mode] = {"fixed": "fixed", "natural": "natural"}
