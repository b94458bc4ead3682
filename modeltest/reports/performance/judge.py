"""Whether a point's figures can be signed, every reason with its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from modeltest.records import ValidityName
from modeltest.reports.performance.cache_check import GAIN_LIMIT, SHORTEST_ROUND_S, CacheCheck
from modeltest.reports.performance.device_health import device_faults, device_note
from modeltest.reports.performance.figures import (
    OUTLIER_LEAST_S,
    OUTLIER_LEAST_SHARE,
    Figures,
)
from modeltest.reports.performance.replies import Replies
from modeltest.reports.performance.wording import percent, signed_percent
from modeltest.reports.summary import device_problems
from modeltest.runlog.sweep_log import Point, Record

MIN_ROUNDS = 5
MIN_PASSES = 3
STABILITY_LIMIT = 0.10
"""Largest spread between passes, and drift from the first third to the last."""
STABILITY_LIMIT_CERTIFIED = 0.03
OUTLIER_SHARE_LIMIT = 0.01
MIN_ROUNDS_OUTLIERS = 20
"""In fewer rounds the median absolute deviation is itself a matter of chance."""
GAP_LIMIT_S = 1.0
OTHER_LOAD_LIMIT = 0.20
CLIENT_CPU_LIMIT = 0.80
"""Of one core: beyond it a client that waits for its turn is part of what it measures."""
UNATTRIBUTED_NOTE_SHARE = 0.05
TOKENS_PER_PIECE_NOTE = 2.0
"""Beyond it times of pieces are no times of tokens; some more tokens than pieces are usual,
since the end token has no text and some letters take several tokens."""
OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, slots=True)
class PointEvidence:
    """All that is known of a point.

    Attributes:
        point: Which one.
        manifest: Of the sweep.
        rounds: Of complete blocks, of all kinds, in the order of measuring.
        measured: Those that the figures are made of.
        figures: None where nothing was measured.
        replies: What it answered.
        cache: Copies against distinct clips; None where they were not compared.
        num_passes: Complete blocks.
        failures: Its `point_failure` records.
        degraded: Its `degraded` records.
        health: The sweep's `health` records.
    """

    point: Point
    manifest: Record
    rounds: Sequence[Record]
    measured: Sequence[Record]
    figures: Figures | None
    replies: Replies
    cache: CacheCheck | None
    num_passes: int
    failures: Sequence[Record]
    degraded: Sequence[Record]
    health: Sequence[Record] = ()


Finding = tuple[ValidityName, str]
"""The verdict that a reason stands for, and the reason."""


def stability_limit(manifest: Record) -> float:
    """The limit for spread and drift, as a share: stricter for a certified sweep."""
    return STABILITY_LIMIT_CERTIFIED if manifest["certified"] else STABILITY_LIMIT


def judge_point(evidence: PointEvidence) -> tuple[Finding, ...]:
    """Everything that stands against a point; nothing makes its row valid."""
    simulated: list[Finding] = [("INVALID", why) for why in device_problems(evidence.manifest)]
    if evidence.failures:
        reason = str(evidence.failures[0]["reason"])
        gravity: ValidityName = "LIMITED" if reason.startswith(OUT_OF_MEMORY) else "INVALID"
        return (*simulated, (gravity, reason))
    reasons = [
        *_failed_requests(evidence),
        *_work_done(evidence),
        *_tokens_counted(evidence),
        *_client_is_quick(evidence),
        *_replies_repeat(evidence),
        *_no_cache(evidence),
        *(f"degraded: {record['reason']}" for record in evidence.degraded),
    ]
    missing = _missing_passes(evidence)
    if missing is None:  # the figures below are not final before the last pass
        reasons = [*_enough(evidence), *_stable(evidence), *reasons]
    # First what disturbed the machine: it explains much of the rest.
    reasons = [*_undisturbed(evidence), *reasons]
    findings: list[Finding] = [("INVALID", reason) for reason in dict.fromkeys(reasons)]
    return (*simulated, *(() if missing is None else (missing,)), *findings)


def point_notes(evidence: PointEvidence) -> tuple[str, ...]:
    """What a reader should know and what does not make the row invalid."""
    return tuple(_notes(evidence))


def _notes(evidence: PointEvidence) -> Iterator[str]:
    figures = evidence.figures
    if figures is None:
        return
    if evidence.cache is not None:
        if note := evidence.cache.note():
            yield note
    elif evidence.point[1] == "fixed" and figures.kind == "copies":
        yield "cache check: not run"
    if figures.round_e2e_s < SHORTEST_ROUND_S:
        yield (
            f"rounds below {1000 * SHORTEST_ROUND_S:g} ms: spread, drift and outliers not judged"
        )
    yield from _unseen(evidence)
    if figures.unattributed_s is not None:
        share = figures.unattributed_s / figures.e2e_p50_s
        if share > UNATTRIBUTED_NOTE_SHARE:
            yield f"unattributed: {percent(share, 1)} of the time belongs to no stage"
    if figures.kind == "requests":
        yield from _service_notes(evidence)


def _unseen(evidence: PointEvidence) -> Iterator[str]:
    if all(record.get("other_load") is None for record in evidence.measured):
        yield "other load on the machine: not checked"
    if note := device_note(evidence.manifest, evidence.health):
        yield note


def _service_notes(evidence: PointEvidence) -> Iterator[str]:
    batches = [batch for record in evidence.measured for batch in record["batches"]]
    num_clips = int(evidence.manifest["data"]["num_samples"])
    if len(batches) < num_clips:
        yield f"{len(batches)} of {num_clips} clips were asked about"
    tokens = _tokens_per_piece(batches)
    if tokens is not None and tokens > TOKENS_PER_PIECE_NOTE:
        yield f"replies arrive in pieces of about {tokens:.0f} tokens: TTFT and ITL are of pieces"


def _tokens_per_piece(batches: Sequence[Record]) -> float | None:
    """Mean over all streamed replies whose tokens were counted; None without any."""
    streamed = [
        (batch["output_tokens"][0], 1 + len(batch["step_s"]))
        for batch in batches
        if batch["ttft_s"] is not None
        and batch["step_s"] is not None
        and batch["output_tokens"]
        and batch["output_tokens"][0] is not None
    ]
    pieces = sum(pieces for _, pieces in streamed)
    return sum(tokens for tokens, _ in streamed) / pieces if pieces else None


def _missing_passes(evidence: PointEvidence) -> Finding | None:
    planned = int(evidence.manifest["sweep"]["num_passes"])
    if evidence.num_passes >= planned:
        return None
    return "INCOMPLETE", f"{evidence.num_passes} of {planned} passes measured"


def _enough(evidence: PointEvidence) -> Iterator[str]:
    sweep, figures = evidence.manifest["sweep"], evidence.figures
    rounds = figures.repeats if figures else 0
    seconds = figures.measured_s if figures else 0.0
    if rounds < MIN_ROUNDS:
        yield f"{rounds} rounds, fewer than {MIN_ROUNDS}"
    if evidence.num_passes < MIN_PASSES:
        yield f"{evidence.num_passes} passes, fewer than {MIN_PASSES}"
    if seconds < sweep["min_seconds"]:
        yield f"{seconds:.3g} s measured, less than {sweep['min_seconds']:g} s"


def _stable(evidence: PointEvidence) -> Iterator[str]:
    figures, limit = evidence.figures, stability_limit(evidence.manifest)
    if figures is None or figures.round_e2e_s < SHORTEST_ROUND_S:
        return
    if figures.variation is not None and figures.variation > limit:
        yield (
            f"passes differ: coefficient of variation {percent(figures.variation, 1)}, "
            f"limit {percent(limit)}"
        )
    if figures.drift is not None and abs(figures.drift) > limit:
        yield (
            f"throughput drifts by {signed_percent(figures.drift)} from the first third to the "
            f"last, limit {percent(limit)}"
        )
    many = figures.repeats >= MIN_ROUNDS_OUTLIERS
    if many and figures.outliers > OUTLIER_SHARE_LIMIT * figures.repeats:
        yield (
            f"{figures.outliers} of {figures.repeats} rounds are outliers (more than ten "
            f"standard deviations away), limit {percent(OUTLIER_SHARE_LIMIT)}"
        )


def _failed_requests(evidence: PointEvidence) -> Iterator[str]:
    batches = [batch for record in evidence.rounds for batch in record["batches"]]
    if failed := num_failed(evidence.rounds):
        total = sum(max(len(b["output_tokens"]), len(b["errors"])) for b in batches)
        first = next(error for batch in batches for error in batch["errors"] if error)
        yield f"{failed} of {total} requests failed, the first one with: {first}"


def num_failed(rounds: Sequence[Record]) -> int:
    """Requests that failed."""
    return sum(bool(e) for record in rounds for batch in record["batches"] for e in batch["errors"])


def _tokens_counted(evidence: PointEvidence) -> Iterator[str]:
    counts = [
        count
        for record in evidence.measured
        for batch in record["batches"]
        if not any(batch["errors"])
        for count in batch["output_tokens"]
    ]
    if unknown := sum(count is None for count in counts):
        yield f"{unknown} of {len(counts)} replies came without a count of their tokens"


def _client_is_quick(evidence: PointEvidence) -> Iterator[str]:
    share = client_share(evidence.measured)
    if share is not None and share > CLIENT_CPU_LIMIT:
        yield (
            f"the client used {percent(share)} of a core, limit {percent(CLIENT_CPU_LIMIT)}: it "
            "is the bottleneck; measure from a faster machine"
        )


def client_share(rounds: Sequence[Record]) -> float | None:
    """Mean share of a core that asking a service took this process; None of a model in it."""
    return _weighted(rounds, "client_cpu")


def _work_done(evidence: PointEvidence) -> Iterator[str]:
    if evidence.point[1] != "fixed":
        return
    wanted = evidence.manifest["sweep"]["max_new_tokens"]
    tokens = [
        count
        for record in evidence.rounds
        for batch in record["batches"]
        for count in batch["output_tokens"]
        if count is not None  # failures, and replies without a count, have reasons of their own
    ]
    others = [count for count in tokens if count != wanted]
    if others:
        yield (
            f"{len(others)} of {len(tokens)} replies do not have {wanted} tokens, "
            f"the first one has {others[0]}"
        )


def _replies_repeat(evidence: PointEvidence) -> Iterator[str]:
    if evidence.replies.unstable:
        yield (
            f"nondeterministic: outputs differ between rounds ({evidence.replies.unstable} differ)"
        )


def _undisturbed(evidence: PointEvidence) -> Iterator[str]:
    suspended = max((float(r["suspended_s"] or 0) for r in evidence.rounds), default=0.0)
    if suspended > GAP_LIMIT_S:
        yield f"the machine was suspended for {suspended:.3g} s, limit {GAP_LIMIT_S:g} s"
    gap = _longest_gap_s(evidence.rounds)
    if gap > GAP_LIMIT_S:
        yield f"a gap of {gap:.3g} s between two rounds of a pass, limit {GAP_LIMIT_S:g} s"
    load = _weighted(evidence.measured, "other_load")
    if load is not None and load > OTHER_LOAD_LIMIT:
        yield (
            f"other processes used {percent(load)} of the machine, "
            f"limit {percent(OTHER_LOAD_LIMIT)}"
        )
    yield from device_faults(evidence.manifest, evidence.health)


def _longest_gap_s(rounds: Sequence[Record]) -> float:
    """Longest time between the end of a round and the start of the next of the same block.

    Less the time in which a client made the next round's requests: nobody was asked then.
    """
    by_pass: dict[int, list[Record]] = {}
    for record in rounds:
        by_pass.setdefault(int(record["pass"]), []).append(record)
    gaps = [
        second["start_s"] - first["end_s"] - (second.get("prepare_s") or 0.0)
        for block in by_pass.values()
        for first, second in pairwise(sorted(block, key=lambda record: record["start_s"]))
    ]
    return float(max(gaps, default=0.0))


def _weighted(rounds: Sequence[Record], share: str) -> float | None:
    """Mean of a share that the rounds recorded, weighted by their lengths."""
    known = [
        (float(record[share]), record["end_s"] - record["start_s"])
        for record in rounds
        if record.get(share) is not None
    ]
    seconds = sum(length for _, length in known)
    return sum(value * length for value, length in known) / seconds if seconds else None


def _no_cache(evidence: PointEvidence) -> Iterator[str]:
    if evidence.cache is not None and (reason := evidence.cache.reason()):
        yield reason


def limits(manifest: Record) -> tuple[str, ...]:
    """The limits in words, for a report."""
    return (
        f"at least {MIN_ROUNDS} rounds and {MIN_PASSES} passes",
        f"coefficient of variation between passes and drift from the first third of the rounds "
        f"to the last up to {percent(stability_limit(manifest))} (3 % when certified, else 10 %)",
        f"outliers (ten standard deviations, and at least {percent(OUTLIER_LEAST_SHARE)} and "
        f"{1000 * OUTLIER_LEAST_S:g} ms) up to {percent(OUTLIER_SHARE_LIMIT)} of the rounds, from "
        f"{MIN_ROUNDS_OUTLIERS} rounds",
        f"no gap (the making of requests to a service left out) or suspension above "
        f"{GAP_LIMIT_S:g} s",
        f"other processes up to {percent(OTHER_LOAD_LIMIT)} of the machine, unless the service "
        "that is measured runs there, too",
        f"of a service: every reply with its token count, and a client that uses up to "
        f"{percent(CLIENT_CPU_LIMIT)} of a core",
        f"repeated clips not proven (by the whole 95 % interval) more than "
        f"{percent(GAIN_LIMIT)} faster than distinct ones",
        f"spread, drift, outliers and caches are judged from {1000 * SHORTEST_ROUND_S:g} ms per "
        "round",
        "no accelerator whose health is not OK, that is slowed down by heat or a power brake, "
        "whose uncorrected memory errors rise, or that another process uses, before or after",
        "no failed request, no degraded point, replies that repeat, no simulated device",
    )
