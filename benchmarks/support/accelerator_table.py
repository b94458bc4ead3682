"""The table of `bench_accelerator`: medians, shares of the peaks, ratios, as CSV and Markdown."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modeltest.devices.peaks import Peaks
from modeltest.records import StageTimes, StageWork, Timing


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One batch, timed.

    Attributes:
        timing: By the device's events.
        tokens: New token ids per request.
        peak_bytes: Highest memory use while it ran, weights included.
    """

    timing: Timing
    tokens: list[tuple[int, ...]]
    peak_bytes: int

    @property
    def stages(self) -> StageTimes:
        """The timing's stages, which every engine here tells."""
        assert self.timing.stages is not None
        return self.timing.stages


@dataclasses.dataclass(slots=True)
class Point:
    """One engine at one batch size.

    Attributes:
        answers: One per repeat.
        invalid_reason: Why it was not, or not often enough, run; or empty.
    """

    engine: str
    batch_size: int
    answers: list[Answer] = dataclasses.field(default_factory=list)
    invalid_reason: str = ""


def make_rows(
    points: Sequence[Point], peaks: Peaks, work_of: Callable[[Point], dict[str, StageWork]]
) -> list[dict[str, Any]]:
    """One row per point, medians over its repeats; `work_of` tells a batch's work."""
    rows = []
    for point in points:
        row: dict[str, Any] = {
            "engine": point.engine,
            "batch_size": point.batch_size,
            "valid": bool(point.answers),
            "invalid_reason": point.invalid_reason,
            "repeats": len(point.answers),
        }
        if point.answers:
            row |= figures(point, work_of(point), peaks)
            stock = next(
                (p for p in points if (p.engine, p.batch_size) == ("stock", point.batch_size)), None
            )
            if stock is not None and stock.answers:
                row |= beside_stock(point, stock)
        rows.append(row)
    return rows


def figures(point: Point, work: dict[str, StageWork], peaks: Peaks) -> dict[str, Any]:
    """Times in milliseconds, shares of the measured peaks, memory."""

    def median(read: Callable[[Answer], float]) -> float:
        return statistics.median(read(answer) for answer in point.answers)

    decode_s = median(lambda answer: sum(answer.stages.step_s))
    e2e_s = median(lambda answer: answer.timing.e2e_s)
    encoder_s = median(lambda answer: answer.stages.encoder_s)
    prefill_s = median(lambda answer: answer.stages.prefill_s)
    flops = sum(stage.useful_flops for stage in work.values())
    num_steps = len(point.answers[0].stages.step_s)
    num_tokens = point.batch_size * (num_steps + 1)
    peak_flops = peaks.flops_per_s
    bandwidth = peaks.bandwidth_bytes_per_s
    return {
        "ttft_ms": 1e3 * median(lambda answer: answer.stages.ttft_s),
        "tpot_ms": 1e3 * decode_s / max(num_steps, 1),
        "tokens_per_s": num_tokens / e2e_s,
        "features_ms": 1e3 * median(lambda answer: answer.stages.feature_s),
        "encoder_ms": 1e3 * encoder_s,
        "prefill_ms": 1e3 * prefill_s,
        "decode_ms": 1e3 * decode_s,
        "e2e_ms": 1e3 * e2e_s,
        "decode_mbu": work["decode"].num_bytes / decode_s / bandwidth if num_steps else None,
        "encoder_mfu": work["encoder"].useful_flops / encoder_s / peak_flops,
        "prefill_mfu": work["prefill"].useful_flops / prefill_s / peak_flops,
        "mfu": flops / e2e_s / peak_flops,
        "peak_gib": max(answer.peak_bytes for answer in point.answers) / 2**30,
    }


def beside_stock(point: Point, stock: Point) -> dict[str, Any]:
    """Throughput relative to stock's, repeat by repeat, and replies that are stock's."""
    pairs = list(zip(point.answers, stock.answers, strict=False))
    rows = [(a, b) for one, other in pairs for a, b in zip(one.tokens, other.tokens, strict=True)]
    return {
        "times_stock": statistics.median(
            other.timing.e2e_s / one.timing.e2e_s for one, other in pairs
        ),
        "replies_like_stock": f"{sum(a == b for a, b in rows)}/{len(rows)}",
        "first_tokens_like_stock": f"{sum(a[0] == b[0] for a, b in rows)}/{len(rows)}",
    }


def write_tables(rows: list[dict[str, Any]], head: str, folder: Path) -> str:
    """Writes accelerator.csv and accelerator.md; returns the Markdown."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "accelerator.csv", index=False, float_format="%.6g")
    columns = list(table.columns)
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [
        f"| {' | '.join(_cell(value) for value in row)} |"
        for row in table.itertuples(index=False, name=None)
    ]
    text = "\n".join([head, "", *lines, ""])
    (folder / "accelerator.md").write_text(text, encoding="utf-8")
    return text


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)
