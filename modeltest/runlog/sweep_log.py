"""The log of a sweep as it lies on the disk: what every performance report is a function of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeltest.errors import DataError, one_line
from modeltest.runlog.layout import LOG_FOLDER
from modeltest.runlog.manifest import read_manifest
from modeltest.runlog.manifest_shape import check_perf_manifest
from modeltest.runlog.segment import SegmentReader

COMMAND = "perf"

Point = tuple[int, str]
"""Batch size and output mode."""
Block = tuple[int, str, int]
"""Batch size, output mode and number of the pass."""
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SweepContent:
    """A sweep as it lies on the disk.

    Attributes:
        folder: The run's folder.
        manifest: What decided the run.
        rounds: Rounds of complete blocks, in the order of measuring. Of a block that was
            measured twice the first complete one counts.
        blocks: The complete blocks.
        failures: Points that could not be measured, and why.
        works: What the stages of a point have to compute and to move, per round.
        outputs: Hashes of the replies of complete blocks.
        peaks: The machine's limits, of the first record; None when not measured.
        phases: Phase records in the order of the log.
        degraded: Points that were not measured as planned, and why.
        health: What was known of the device before and after the work; the content may be
            anything.
        problems: What makes the log unfit.
        torn: Segments whose last line is incomplete; that line was never acknowledged.
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

    @property
    def points(self) -> tuple[Point, ...]:
        """The planned points, by mode, then by batch size, in the manifest's order."""
        sweep = self.manifest["sweep"]
        return tuple((int(b), str(mode)) for mode in sweep["modes"] for b in sweep["batch_sizes"])

    def of(self, records: Sequence[Record], point: Point) -> tuple[Record, ...]:
        """Those records that belong to a point."""
        return tuple(record for record in records if _point(record) == point)


@dataclass(slots=True)
class _Merge:
    """Collects the records of one segment after another."""

    rounds: list[Record] = field(default_factory=list)
    blocks: set[Block] = field(default_factory=set)
    by_type: dict[str, list[Record]] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        """Takes a whole segment: a block whose end it does not hold is left out."""
        open_rounds: dict[Block, list[Record]] = {}
        for record in records:
            kind = record["type"]
            if kind == "round":
                open_rounds.setdefault(_block(record), []).append(record)
            elif kind == "block":
                block = _block(record)
                measured = open_rounds.pop(block, [])
                if measured and block not in self.blocks:
                    self.blocks.add(block)
                    self.rounds += measured
            else:
                self.by_type.setdefault(kind, []).append(record)


def read_sweep(folder: Path) -> SweepContent:
    """Reads manifest and segments and keeps the rounds of complete blocks.

    Raises:
        DataError: There is no readable manifest, it is not a sweep's, or a file of the log
            cannot be read.
    """
    manifest = read_manifest(folder)
    if manifest.get("command") != COMMAND:
        command = one_line(str(manifest.get("command")))
        raise DataError(f"{folder}: is a run of modeltest {command}, not of modeltest {COMMAND}")
    check_perf_manifest(manifest, folder)
    merge, problems, torn = _Merge(), [], []
    for path in sorted((folder / LOG_FOLDER).glob("*.jsonl")):
        reader = SegmentReader(path)
        merge.add(record for _, _, record in reader)
        if reader.damaged:
            problems.append(f"segment {path.name} is damaged inside; see modeltest report --repair")
        if reader.torn:
            torn.append(path.name)
    of_type = merge.by_type
    outputs = [r for r in of_type.get("outputs", []) if _block(r) in merge.blocks]
    return SweepContent(
        folder=folder,
        manifest=manifest,
        rounds=tuple(merge.rounds),
        blocks=frozenset(merge.blocks),
        failures=tuple(of_type.get("point_failure", [])),
        works=tuple(of_type.get("work", [])),
        outputs=tuple(outputs),
        peaks=next(iter(of_type.get("peaks", [])), None),
        phases=tuple(of_type.get("phase", [])),
        degraded=tuple(of_type.get("degraded", [])),
        health=tuple(of_type.get("health", [])),
        problems=tuple(problems),
        torn=tuple(torn),
    )


def _point(record: Record) -> Point:
    return int(record["batch_size"]), str(record["mode"])


def _block(record: Record) -> Block:
    return (*_point(record), int(record["pass"]))
