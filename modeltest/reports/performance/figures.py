"""The figures of one point, from the rounds that were measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.metrics.block_bootstrap import median_interval
from modeltest.metrics.timing import (
    coefficient_of_variation,
    drift,
    median,
    num_outliers,
    p90,
    p99,
    percentile,
    time_per_output_token_s,
)
from modeltest.runlog.sweep_log import Record

MEASURED_KINDS = ("copies", "task", "requests")
OUTLIER_LEAST_S, OUTLIER_LEAST_SHARE = 0.0001, 0.03
"""A round this near to the median, in seconds or as a share, is no outlier."""
STAGES = ("feature", "encoder", "prefill", "decode", "detokenize")


@dataclass(frozen=True, slots=True)
class Figures:
    """What a point measures; times in seconds, None is "not measured".

    Attributes:
        kind: `copies` (the clip repeated to fill the batch), `task` (a task's samples), or
            `requests` (a service's closed loop, where every request is a batch of its own and
            a round lasts from the first request to the last reply).
        repeats: Rounds; those in which every request failed are in no figure.
        num_batches: Batches of all rounds; the observations behind times of a batch. Requests
            of a service that failed are not among them.
        measured_s: Sum of the rounds' times.
        audio_seconds: Audio of one request, mean.
        input_tokens: Tokens that entered the language model per request, mean.
        text_tokens: The same with each clip counted as one token, as today's tool does.
        output_tokens: New tokens per request, mean; None where a reply came without a count,
            as are `tpot_s` and all figures of tokens per second.
        e2e_p50_s: Median time of a batch.
        e2e_p90_s: Its 90th percentile, from 64 batches.
        e2e_p99_s: Its 99th percentile, from 662 batches.
        stage_s: Median time of a batch in each of `STAGES`.
        unattributed_s: Median of what the stages leave of a batch's time.
        ttft_s: Median time to the first token.
        ttft_p90_s: Its 90th percentile, from 64 batches.
        ttft_p99_s: Its 99th percentile, from 662 batches.
        itl_p50_s: Median time between one token and the next (of a service: one piece of
            text and the next), of all replies.
        itl_p90_s: Its 90th percentile, from 64 of them.
        itl_p99_s: Its 99th percentile, from 662 of them.
        tpot_s: Median time per later token.
        step_s: Median of each later token's time, where all batches have as many.
        round_e2e_s: Median time of a round, all its batches.
        round_stage_s: Median time of a round in each of `STAGES`.
        output_tokens_per_s: Median over rounds.
        interval: 95 % interval of `output_tokens_per_s`.
        total_tokens_per_s: Input and output tokens, median over rounds.
        samples_per_s: Median over rounds.
        audio_seconds_per_s: RTFx, median over rounds.
        peak_memory_bytes: Highest of all rounds.
        blocks: `output_tokens_per_s` of each round, by pass; empty where it is None.
        variation: Coefficient of variation of the blocks' medians.
        drift: Last third against first third of the rounds, as a share.
        outliers: Rounds whose time is far from all others', by the spread of these and by
            `OUTLIER_LEAST_S` and `OUTLIER_LEAST_SHARE`.
    """

    kind: str
    repeats: int
    num_batches: int
    measured_s: float
    audio_seconds: float
    input_tokens: float | None
    text_tokens: float | None
    output_tokens: float | None
    e2e_p50_s: float
    e2e_p90_s: float | None
    e2e_p99_s: float | None
    stage_s: dict[str, float | None]
    unattributed_s: float | None
    ttft_s: float | None
    ttft_p90_s: float | None
    ttft_p99_s: float | None
    itl_p50_s: float | None
    itl_p90_s: float | None
    itl_p99_s: float | None
    tpot_s: float | None
    step_s: tuple[float, ...]
    round_e2e_s: float
    round_stage_s: dict[str, float | None]
    output_tokens_per_s: float | None
    interval: tuple[float, float] | None
    total_tokens_per_s: float | None
    samples_per_s: float
    audio_seconds_per_s: float
    peak_memory_bytes: int | None
    blocks: tuple[tuple[float, ...], ...]
    variation: float | None
    drift: float | None
    outliers: int


def measured(rounds: Iterable[Record]) -> tuple[Record, ...]:
    """The rounds that the figures are made of; those of distinct clips only check for caches."""
    return tuple(record for record in rounds if record["kind"] in MEASURED_KINDS)


def point_figures(rounds: Sequence[Record]) -> Figures | None:
    """All figures of a point, or None where nothing was measured.

    Args:
        rounds: The point's measured rounds, in the order of measuring. A round in which
            every request failed has no rate and is left out; `judge` counts its errors.
    """
    timed = [record for record in rounds if round_s(record) > 0 and _answered(record)]
    if not timed:
        return None
    batches = [batch for record in timed for batch in _answered(record)]
    num_requests = sum(len(batch["output_tokens"]) for batch in batches)
    if not num_requests:
        return None
    rates = None if any(map(_is_uncounted, batches)) else [_output_rate(r) for r in timed]
    e2e = [float(batch["e2e_s"]) for batch in batches]
    ttft = [batch["ttft_s"] for batch in batches if batch["ttft_s"] is not None]
    gaps = [gap for batch in batches for gap in batch["step_s"] or ()]
    blocks = _by_pass(timed, rates) if rates else ()
    memory = [r["peak_memory_bytes"] for r in timed if r.get("peak_memory_bytes") is not None]
    return Figures(
        kind=timed[0]["kind"],
        repeats=len(timed),
        num_batches=len(batches),
        measured_s=sum(map(round_s, timed)),
        audio_seconds=sum(float(batch["audio_s"]) for batch in batches) / num_requests,
        input_tokens=_mean(_input_tokens(batch) for batch in batches),
        text_tokens=_mean(_text_tokens(batch) for batch in batches),
        output_tokens=sum(map(_output_tokens, batches)) / num_requests if rates else None,
        e2e_p50_s=percentile(e2e, 50),
        e2e_p90_s=p90(e2e),
        e2e_p99_s=p99(e2e),
        stage_s={stage: median(stage_s(batch, stage) for batch in batches) for stage in STAGES},
        unattributed_s=median(_unattributed_s(batch) for batch in batches),
        ttft_s=median(batch["ttft_s"] for batch in batches),
        ttft_p90_s=p90(ttft),
        ttft_p99_s=p99(ttft),
        itl_p50_s=median(gaps),
        itl_p90_s=p90(gaps),
        itl_p99_s=p99(gaps),
        tpot_s=_tpot_s(batches) if rates else None,
        step_s=_step_s(batches),
        round_e2e_s=percentile([round_s(record) for record in timed], 50),
        round_stage_s={stage: median(_round_stage_s(r, stage) for r in timed) for stage in STAGES},
        output_tokens_per_s=percentile(rates, 50) if rates else None,
        interval=median_interval(blocks),
        total_tokens_per_s=median(map(_total_tokens_per_s, timed)) if rates else None,
        samples_per_s=_rate(timed, lambda batch: len(batch["output_tokens"])),
        audio_seconds_per_s=_rate(timed, lambda batch: batch["audio_s"]),
        peak_memory_bytes=max(memory, default=None),
        blocks=blocks,
        variation=coefficient_of_variation([percentile(block, 50) for block in blocks]),
        drift=drift(rates or ()),
        outliers=_outliers([round_s(record) for record in timed]),
    )


def _outliers(rounds_s: Sequence[float]) -> int:
    least_s = max(OUTLIER_LEAST_S, OUTLIER_LEAST_SHARE * percentile(rounds_s, 50))
    return num_outliers(rounds_s, least_s)


def round_s(record: Record) -> float:
    """Seconds of a round: of all its batches, what lies between them left out.

    In a closed loop requests overlap; there it is the time from the first to the last reply.
    """
    if record.get("wall_s") is not None:
        return float(record["wall_s"])
    return sum(float(batch["e2e_s"] or 0) for batch in record["batches"])


def stage_s(batch: Record, stage: str) -> float | None:
    """Seconds that a batch spent in one of `STAGES`; decoding is the sum of its steps."""
    value = batch["step_s" if stage == "decode" else f"{stage}_s"]
    if value is None:
        return None
    return float(sum(value)) if stage == "decode" else float(value)


def _unattributed_s(batch: Record) -> float | None:
    parts = [stage_s(batch, stage) for stage in STAGES]
    known = [part for part in parts if part is not None]
    return float(batch["e2e_s"]) - sum(known) if len(known) == len(parts) else None


def _round_stage_s(record: Record, stage: str) -> float | None:
    parts = [stage_s(batch, stage) for batch in _answered(record)]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _is_uncounted(batch: Record) -> bool:
    """Whether a reply came without a count of its tokens."""
    return not any(batch["errors"]) and any(count is None for count in batch["output_tokens"])


def _answered(record: Record) -> list[Record]:
    """The batches of a round but for requests that failed: they have no time."""
    return [batch for batch in record["batches"] if batch["e2e_s"]]


def _by_pass(rounds: Sequence[Record], values: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    blocks: dict[int, list[float]] = {}
    for record, value in zip(rounds, values, strict=True):
        blocks.setdefault(int(record["pass"]), []).append(value)
    return tuple(tuple(blocks[number]) for number in sorted(blocks))


def _output_rate(record: Record) -> float:
    return sum(map(_output_tokens, _answered(record))) / round_s(record)


def _output_tokens(batch: Record) -> int:
    return sum(int(tokens or 0) for tokens in batch["output_tokens"])


def _total_tokens_per_s(record: Record) -> float | None:
    tokens = 0
    for batch in _answered(record):
        if any(count is None for count in batch["input_tokens"]):
            return None
        tokens += sum(batch["input_tokens"]) + _output_tokens(batch)
    return tokens / round_s(record)


def _rate(rounds: Sequence[Record], count: Any) -> float:
    rates = [sum(map(count, _answered(record))) / round_s(record) for record in rounds]
    return percentile(rates, 50)


def _input_tokens(batch: Record) -> tuple[float, int] | None:
    counts = batch["input_tokens"]
    if any(count is None for count in counts):
        return None
    return float(sum(counts)), len(counts)


def _text_tokens(batch: Record) -> tuple[float, int] | None:
    inputs = _input_tokens(batch)
    if inputs is None or batch["audio_tokens"] is None:
        return None
    return inputs[0] - batch["audio_tokens"] + inputs[1], inputs[1]


def _mean(parts: Iterable[tuple[float, int] | None]) -> float | None:
    """Mean per request from sums and counts per batch; None when one is unknown."""
    total, count = 0.0, 0
    for part in parts:
        if part is None:
            return None
        total, count = total + part[0], count + part[1]
    return total / count if count else None


def _tpot_s(batches: Sequence[Record]) -> float | None:
    """Median over the batches with at least one later token."""
    times = [
        time_per_output_token_s(
            batch["e2e_s"],
            batch["ttft_s"],
            max((t or 0 for t in batch["output_tokens"]), default=0),
        )
        for batch in batches
    ]
    return median(time for time in times if time is not None)


def _step_s(batches: Sequence[Record]) -> tuple[float, ...]:
    steps = [batch["step_s"] for batch in batches]
    if any(step is None for step in steps) or len({len(step) for step in steps}) != 1:
        return ()
    return tuple(percentile(times, 50) for times in zip(*steps, strict=True))
