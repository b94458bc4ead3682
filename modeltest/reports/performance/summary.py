"""A sweep's rows and verdict, as pure functions of its manifest and log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.records import ValidityName, Verdict
from modeltest.reports.performance.cache_check import CacheCheck, check_cache
from modeltest.reports.performance.figures import Figures, measured, point_figures
from modeltest.reports.performance.judge import (
    Finding,
    PointEvidence,
    client_share,
    judge_point,
    num_failed,
    point_notes,
)
from modeltest.reports.performance.replies import Replies, point_replies
from modeltest.reports.performance.roofline import Roofline, point_roofline
from modeltest.reports.performance.wording import point_name
from modeltest.reports.summary import changes, device_problems, source_problems
from modeltest.runlog.sweep_log import Point, Record, SweepContent

_SEVERITY: tuple[ValidityName, ...] = ("INCOMPLETE", "INVALID", "LIMITED")
_LABELS = {"cpu": "CPU", "cuda": "GPU", "npu": "NPU", "service": "SERVICE"}


@dataclass(frozen=True, slots=True)
class Row:
    """One planned point.

    Attributes:
        batch_size: Requests per batch; in a closed loop those in flight.
        mode: `fixed` or `natural`.
        closed_loop: Of a service.
        findings: What stands against it; empty is valid.
        notes: What a reader should know besides.
        figures: None where nothing was measured, or it failed.
        replies: What it answered.
        cache: Copies against distinct clips; None where they were not compared.
        roofline: How near the machine's limits it comes.
        num_failed: Requests that failed, of all rounds; None where nothing was measured.
        client_cpu: Share of a core that this process took to ask a service; None elsewhere.
    """

    batch_size: int
    mode: str
    closed_loop: bool
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    figures: Figures | None
    replies: Replies
    cache: CacheCheck | None
    roofline: Roofline
    num_failed: int | None
    client_cpu: float | None

    @property
    def valid(self) -> bool:
        """Nothing stands against it."""
        return not self.findings

    @property
    def validity(self) -> ValidityName:
        """The gravest of what stands against it."""
        return _gravest(self.findings)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not valid."""
        return tuple(reason for _, reason in self.findings)

    @property
    def name(self) -> str:
        """For a sentence."""
        return point_name(self.batch_size, self.mode, self.closed_loop)

    @property
    def short_name(self) -> str:
        """In figures and our own terms, the same in every language."""
        return f"{self.batch_size} {self.mode}"


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """What the reports of a sweep say.

    Attributes:
        verdict: What the figures are good for.
        rows: The planned points, by mode, then by batch size.
        dtype: Precision.
        device: `NPU`, `GPU` or `CPU`.
        device_name: Its make.
        max_new_tokens: Length of a fixed reply.
        closed_loop: A service was measured: batch sizes are requests in flight.
        simulated: The device is none, so its figures go into no file that cannot say so.
        problems: What stands against every row, whatever its own figures are.
    """

    verdict: Verdict
    rows: tuple[Row, ...]
    dtype: str
    device: str
    device_name: str
    max_new_tokens: int
    closed_loop: bool
    simulated: bool
    problems: tuple[str, ...]

    @property
    def best(self) -> Row | None:
        """The valid row with the highest throughput."""
        rows = [row for row in self.rows if row.valid]
        return max(rows, key=_throughput, default=None)


def device_label(device: Mapping[str, Any]) -> str:
    """How tables name a manifest's device: `NPU`, `GPU`, `CPU` or `SERVICE`."""
    return _LABELS.get(str(device["kind"]), str(device["kind"]).upper())


def summarise_sweep(content: SweepContent) -> SweepSummary:
    """Computes every figure of a sweep."""
    manifest = content.manifest
    rows = tuple(_row(content, point) for point in content.points)
    device = manifest["device"]
    problems = (*content.problems, *source_problems(manifest))
    return SweepSummary(
        verdict=_verdict(content, rows, problems),
        rows=rows,
        dtype=str(manifest["dtype"]),
        device=device_label(device),
        device_name=str(device["name"]),
        max_new_tokens=int(manifest["sweep"]["max_new_tokens"]),
        closed_loop=is_closed_loop(manifest),
        simulated=bool(device_problems(manifest)),
        problems=problems,
    )


def _row(content: SweepContent, point: Point) -> Row:
    batch_size, mode = point
    failures = content.of(content.failures, point)
    rounds = () if failures else content.of(content.rounds, point)
    timed = measured(rounds)
    figures = point_figures(timed)
    outputs = () if failures else content.of(content.outputs, point)
    evidence = PointEvidence(
        point=point,
        manifest=content.manifest,
        rounds=rounds,
        measured=timed,
        figures=figures,
        replies=point_replies(timed, outputs, content.of(content.outputs, (1, mode))),
        # Natural replies to distinct clips have other lengths, so their times say nothing.
        cache=check_cache(rounds) if mode == "fixed" else None,
        num_passes=sum(block[:2] == point for block in content.blocks),
        failures=failures,
        degraded=content.of(content.degraded, point),
        health=content.health,
    )
    works = content.of(content.works, point)
    closed_loop = is_closed_loop(content.manifest)
    name = point_name(batch_size, mode, closed_loop)
    roofline = point_roofline(name, figures, works, content.peaks)
    return Row(
        batch_size=batch_size,
        mode=mode,
        closed_loop=closed_loop,
        findings=judge_point(evidence),
        notes=(*point_notes(evidence), *roofline.notes),
        figures=figures,
        replies=evidence.replies,
        cache=evidence.cache,
        roofline=roofline,
        num_failed=num_failed(rounds) if rounds else None,
        client_cpu=client_share(timed),
    )


def is_closed_loop(manifest: Record) -> bool:
    """Whether a service was measured; sweeps of before could not."""
    return bool(manifest["sweep"].get("closed_loop"))


def _verdict(content: SweepContent, rows: Sequence[Row], problems: Sequence[str]) -> Verdict:
    """The verdict with all its reasons; the gravest one decides the word."""
    manifest = content.manifest
    simulated = device_problems(manifest)  # stands against every row, and is said once
    found: list[Finding] = [("INVALID", problem) for problem in simulated]
    found += _missing_blocks(content, rows)
    found += [("INVALID", problem) for problem in problems]
    found += [
        (word, f"{row.name}: {reason}")
        for row in rows
        for word, reason in row.findings
        if word != "INCOMPLETE" and reason not in simulated
    ]
    if rows and all(row.findings for row in rows) and all(w == "LIMITED" for w, _ in found):
        found.append(("INVALID", "no point could be measured"))
    data = manifest["data"]
    if manifest["sweep"]["clip_source"] == "task" and data["num_samples"] < data["num_available"]:
        part = f"{data['num_samples']} of {data['num_available']} samples"
        found.append(("LIMITED", part))
    # No resuming mends a damaged log.
    validity: ValidityName = "INVALID" if content.problems else _gravest(found)
    notes = [f"warning: {warning}" for warning in data["warnings"]]
    notes += changes({kind: manifest[kind] or {"overrides": []} for kind in ("task", "model")})
    notes += _shared_notes(rows)
    return Verdict(validity, (*(reason for _, reason in found), *notes))


def _gravest(findings: Sequence[Finding]) -> ValidityName:
    words = {word for word, _ in findings}
    return next((word for word in _SEVERITY if word in words), "VALID")


def _missing_blocks(content: SweepContent, rows: Sequence[Row]) -> list[Finding]:
    passes = range(int(content.manifest["sweep"]["num_passes"]))
    failed = {(int(f["batch_size"]), str(f["mode"])) for f in content.failures}
    planned = {
        (row.batch_size, row.mode, number)
        for row in rows
        if (row.batch_size, row.mode) not in failed
        for number in passes
    }
    missing = len(planned - content.blocks)
    return [("INCOMPLETE", f"{missing} of {len(planned)} blocks missing")] if missing else []


def _shared_notes(rows: Sequence[Row]) -> list[str]:
    """Each note once, with the points that it is about."""
    points: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            points.setdefault(note, []).append(row.name)
    every = sum(row.figures is not None for row in rows)
    return [
        note if len(names) == every else f"{', '.join(names)}: {note}"
        for note, names in points.items()
    ]


def _throughput(row: Row) -> float:
    return (row.figures.output_tokens_per_s if row.figures else None) or 0.0
