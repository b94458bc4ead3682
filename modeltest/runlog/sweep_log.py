"""The log of a sweep as it lies on the disk: what every performance report is a function of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeltest.errors import DataError, one_line
from modeltest.runlog.digests import digest
from modeltest.runlog.log_reader import LogReader
from modeltest.runlog.manifest import read_sealed
from modeltest.runlog.manifest_shape import check_perf_manifest

COMMAND = "perf"

Point = tuple[int, str]
"""Batch size and output mode."""
Block = tuple[int, str, int]
"""Batch size, output mode and number of the pass."""
Record = Mapping[str, Any]

_NEVER = (math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class SweepContent:
    """A sweep as it lies on the disk.

    Attributes:
        folder: The run's folder.
        manifest: What decided the run.
        rounds: Rounds of complete blocks: by pass, then in the order of measuring.
        blocks: The complete blocks.
        failures: Points that could not be measured, and why.
        works: What the stages of a point have to compute and to move, per round.
        outputs: Hashes of the replies of complete blocks.
        peaks: The machine's limits, of the first record; None when not measured.
        phases: Phase records.
        degraded: Points that were not measured as planned, and why.
        health: What was known of the device before and after the work; the content may be
            anything.
        problems: What makes the log unfit: damage, another sweep's segment, two different
            measurements of a block.
        torn: Segments whose last line is incomplete; that line was never acknowledged.
        damaged: Segments that are damaged inside; `problems` names them, too.
    """

    folder: Path
    manifest: Record
    rounds: tuple[Record, ...] = ()
    blocks: frozenset[Block] = frozenset()
    failures: tuple[Record, ...] = ()
    works: tuple[Record, ...] = ()
    outputs: tuple[Record, ...] = ()
    peaks: Record | None = None
    phases: tuple[Record, ...] = ()
    degraded: tuple[Record, ...] = ()
    health: tuple[Record, ...] = ()
    problems: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def points(self) -> tuple[Point, ...]:
        """The planned points, by mode, then by batch size, in the manifest's order."""
        sweep = self.manifest["sweep"]
        return tuple((int(b), str(mode)) for mode in sweep["modes"] for b in sweep["batch_sizes"])

    def of(self, records: Sequence[Record], point: Point) -> tuple[Record, ...]:
        """Those records that belong to a point."""
        return tuple(record for record in records if _point(record) == point)


@dataclass(slots=True)
class _Measured:
    """A block from its first round on, as one process measured it."""

    rounds: list[Record] = field(default_factory=list)
    outputs: list[Record] = field(default_factory=list)


class _Segment:
    """What one process logged; blocks that it did not end are left out.

    Attributes:
        blocks: Those it ended, in its order.
        by_type: Records that belong to no block.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.blocks: list[tuple[Block, _Measured]] = []
        self.by_type: dict[str, list[Record]] = {}
        self._begin = _NEVER
        begun: dict[Block, _Measured] = {}
        for record in records:
            kind = record["type"]
            if kind == "round":
                if self._begin == _NEVER:
                    self._begin = record["pass"], record["start_s"]
                begun.setdefault(_block(record), _Measured()).rounds.append(record)
            elif kind == "outputs":
                begun.setdefault(_block(record), _Measured()).outputs.append(record)
            elif kind == "block":
                measured = begun.pop(_block(record), None)
                if measured and measured.rounds:
                    self.blocks.append((_block(record), measured))
            else:
                self.by_type.setdefault(kind, []).append(record)

    def order(self) -> tuple[float, float, str]:
        """Where it stands among the segments, by its content alone.

        A monotonic clock begins anew with the machine, so the pass comes first; segments
        without rounds come last, in whatever order, but always the same.
        """
        try:
            return (*self._begin, digest(self.by_type))
        except RecursionError:  # of a kind that may hold anything
            return (*self._begin, "")


class _Merge:
    """The records of all segments, in an order that does not depend on their files' names.

    Attributes:
        blocks: The complete ones, by pass, then in the order in which they began.
        problems: Blocks of which there are two different measurements. What was whole is not
            measured again, so that one of them is no part of this sweep.
    """

    def __init__(self, segments: Iterable[_Segment]) -> None:
        self._segments = sorted(segments, key=_Segment.order)
        self.problems: list[str] = []
        found: dict[Block, _Measured] = {}
        for segment in self._segments:
            for block, measured in segment.blocks:
                first = found.setdefault(block, measured)
                if not _are_same(first, measured):
                    size, mode, number = block
                    self.problems.append(
                        f"two different measurements of batch size {size}, {mode}, pass {number}"
                    )
        # Sorting keeps the order within a process where two blocks began at once.
        begun = sorted(found.items(), key=lambda each: (each[0][2], each[1].rounds[0]["start_s"]))
        self.blocks: dict[Block, _Measured] = dict(begun)

    def of_type(self, kind: str) -> tuple[Record, ...]:
        """The records of a kind, of those that belong to no block."""
        return tuple(record for each in self._segments for record in each.by_type.get(kind, []))


def _are_same(first: _Measured, second: _Measured) -> bool:
    """Whether two measurements are one that was logged twice, as by a copy of a segment."""
    try:
        return first == second
    except RecursionError:
        return False


def read_sweep(folder: Path) -> SweepContent:
    """Reads manifest and segments and keeps the rounds of complete blocks.

    Raises:
        DataError: There is no readable manifest, it is not a sweep's, or a file of the log
            cannot be read.
    """
    manifest, sha256 = read_sealed(folder)
    if manifest.get("command") != COMMAND:
        command = one_line(str(manifest.get("command")))
        raise DataError(f"{folder}: is a run of modeltest {command}, not of modeltest {COMMAND}")
    check_perf_manifest(manifest, folder)
    log = LogReader(folder, manifest, sha256)
    merge = _Merge(
        [_Segment(record for _, _, record in log.records(path)) for path in log.segments]
    )
    return SweepContent(
        folder=folder,
        manifest=manifest,
        rounds=tuple(record for block in merge.blocks.values() for record in block.rounds),
        blocks=frozenset(merge.blocks),
        failures=merge.of_type("point_failure"),
        works=merge.of_type("work"),
        outputs=tuple(record for block in merge.blocks.values() for record in block.outputs),
        peaks=next(iter(merge.of_type("peaks")), None),
        phases=merge.of_type("phase"),
        degraded=merge.of_type("degraded"),
        health=merge.of_type("health"),
        problems=(*log.problems(), *merge.problems),
        torn=tuple(log.torn),
        damaged=tuple(log.damaged),
    )


def _point(record: Record) -> Point:
    return int(record["batch_size"]), str(record["mode"])


def _block(record: Record) -> Block:
    return (*_point(record), int(record["pass"]))
