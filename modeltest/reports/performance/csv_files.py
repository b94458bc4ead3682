"""The CSV files of a sweep: the contract's, today's tool's, and its benchmark file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modeltest.records import ValidityName
from modeltest.reports.csv_files import csv_bytes
from modeltest.reports.performance.figures import Figures
from modeltest.reports.performance.summary import Row, SweepSummary
from modeltest.runlog.sweep_log import SweepContent

BENCHMARK_COLUMNS = (
    "batch_size", "valid", "invalid_reason", "mode", "audio_seconds", "input_tokens",
    "output_tokens", "repeats", "e2e_ms_p50", "e2e_ms_p90", "feature_ms", "encoder_ms",
    "prefill_ms", "ttft_ms", "tpot_ms", "decode_ms", "output_tokens_per_s",
    "output_tokens_per_s_ci_low", "output_tokens_per_s_ci_high", "total_tokens_per_s",
    "samples_per_s", "audio_seconds_per_s", "peak_memory_bytes", "mbu", "mfu", "peak_source",
    "outputs_sha256", "outputs_changed_vs_bs1", "accuracy", "dtype", "device", "device_name",
    "e2e_ms_p99", "ttft_ms_p90", "ttft_ms_p99", "itl_ms_p50", "itl_ms_p90", "itl_ms_p99",
    "failed_requests",
)  # fmt: skip
TODAYS_HEADER = (
    "batch, input_len, output_len, embedding_len, first_token_time(ms), "
    "non_first_token_time(ms), ResponseTime(ms),E2E Throughput Average(Tokens/s)"
)
"""Today's header with its typing error and padding removed; its blanks belong to the names."""
PERFORMANCE_COLUMNS = (*TODAYS_HEADER.split(","), "validity")
ATB_COLUMNS = (
    "batch_size", "input_seq_len", "output_seq_len", "e2e_time(ms)", "prefill_time(ms)",
    "decoder_token_time(ms)", "prefill_count", "prefill_token_times", "decode_token_times",
    "prefill_average_time(ms)",
)  # fmt: skip


def benchmark_csv(summary: SweepSummary) -> bytes:
    """`benchmark.csv`: one row per batch size and mode; times of a batch, counts per request."""
    return csv_bytes(BENCHMARK_COLUMNS, benchmark_rows(summary))


def benchmark_rows(summary: SweepSummary) -> Iterator[Mapping[str, Any]]:
    """The rows of `benchmark.csv`."""
    return (_benchmark_row(row, summary) for row in summary.rows)


def performance_csv(summary: SweepSummary) -> bytes:
    """`<model>_performance.csv`: today's columns, then the verdict; a row per batch size.

    The fixed mode's rows, as today; the natural mode's when that alone was measured. Of a
    simulated device there are none: INVALID alone would not say what they are.
    """
    rows = [row for row in summary.rows if row.mode == "fixed"] or summary.rows
    cells = (
        (*_todays_cells(row.batch_size, row.figures), _validity(row, summary))
        for row in rows
        if row.figures is not None and not summary.simulated
    )
    return csv_bytes(
        PERFORMANCE_COLUMNS, (dict(zip(PERFORMANCE_COLUMNS, row, strict=True)) for row in cells)
    )


def atb_benchmark_csv(summary: SweepSummary) -> bytes:
    """The ten columns that `ATB_LLM_BENCHMARK_FILEPATH` gets: the fixed mode's rows.

    Its times are the language model's alone, as ever: encoder and features are left out. A
    row without stage times has none. No column could say that a row is not valid, so such rows
    are left out.
    """
    rows = (
        _atb_row(row.batch_size, row.figures, summary.max_new_tokens)
        for row in summary.rows
        if row.mode == "fixed" and row.figures and row.valid and not summary.problems
    )
    return csv_bytes(ATB_COLUMNS, rows)


def sweep_index_row(content: SweepContent, summary: SweepSummary, path: str) -> dict[str, Any]:
    """The sweep's line in `index.csv`; the headline is the best valid row's throughput."""
    manifest, best = content.manifest, summary.best
    return {
        "run": manifest["place"]["run_id"],
        "created": manifest["started"],
        "command": "perf",
        "model": manifest["model"]["name"],
        "task": manifest["task"]["name"] if manifest["task"] else None,
        "device": summary.device,
        "dtype": summary.dtype,
        "metric": "output_tokens_per_s",
        "value": best.figures.output_tokens_per_s if best and best.figures else None,
        "total": sum(row.figures.repeats for row in summary.rows if row.figures),
        "validity": summary.verdict.validity,
        "reasons": "; ".join(summary.verdict.reasons),
        "path": path,
    }


def milliseconds(seconds: float | None) -> float | None:
    """Seconds as milliseconds; None stays None."""
    return None if seconds is None else 1000 * seconds


def _benchmark_row(row: Row, summary: SweepSummary) -> Mapping[str, Any]:
    measured = _figure_cells(row.figures) if row.figures else {}
    return {
        **measured,
        "batch_size": row.batch_size,
        "valid": row.valid and not summary.problems,
        "invalid_reason": "; ".join((*summary.problems, *row.reasons)),
        "mode": row.mode,
        "mbu": row.roofline.mbu,
        "mfu": row.roofline.mfu,
        "peak_source": row.roofline.peak_source,
        "outputs_sha256": row.replies.sha256,
        "outputs_changed_vs_bs1": row.replies.changed,
        "accuracy": row.replies.accuracy,
        "dtype": summary.dtype,
        "device": summary.device,
        "device_name": summary.device_name,
        "failed_requests": row.num_failed,
    }


def _figure_cells(figures: Figures) -> dict[str, Any]:
    low, high = figures.interval or (None, None)
    stages = {f"{name}_ms": milliseconds(value) for name, value in figures.stage_s.items()}
    return {
        **stages,
        "audio_seconds": figures.audio_seconds,
        "input_tokens": _whole(figures.input_tokens),
        "output_tokens": _whole(figures.output_tokens),
        "repeats": figures.repeats,
        "e2e_ms_p50": milliseconds(figures.e2e_p50_s),
        "e2e_ms_p90": milliseconds(figures.e2e_p90_s),
        "e2e_ms_p99": milliseconds(figures.e2e_p99_s),
        "ttft_ms": milliseconds(figures.ttft_s),
        "ttft_ms_p90": milliseconds(figures.ttft_p90_s),
        "ttft_ms_p99": milliseconds(figures.ttft_p99_s),
        "itl_ms_p50": milliseconds(figures.itl_p50_s),
        "itl_ms_p90": milliseconds(figures.itl_p90_s),
        "itl_ms_p99": milliseconds(figures.itl_p99_s),
        "tpot_ms": milliseconds(figures.tpot_s),
        "output_tokens_per_s": figures.output_tokens_per_s,
        "output_tokens_per_s_ci_low": low,
        "output_tokens_per_s_ci_high": high,
        "total_tokens_per_s": figures.total_tokens_per_s,
        "samples_per_s": figures.samples_per_s,
        "audio_seconds_per_s": figures.audio_seconds_per_s,
        "peak_memory_bytes": figures.peak_memory_bytes,
    }


def _validity(row: Row, summary: SweepSummary) -> ValidityName:
    """The row's own verdict where something stands against it, else the sweep's."""
    return summary.verdict.validity if row.valid else row.validity


def _todays_cells(batch_size: int, figures: Figures) -> tuple[Any, ...]:
    return (
        batch_size,
        _whole(figures.text_tokens),
        _whole(figures.output_tokens),
        _whole(figures.input_tokens),
        milliseconds(figures.ttft_s),
        milliseconds(figures.tpot_s),
        milliseconds(figures.e2e_p50_s),
        figures.output_tokens_per_s,
    )


def _atb_row(batch_size: int, figures: Figures, max_new_tokens: int) -> Mapping[str, Any]:
    prefill_s, steps = figures.stage_s["prefill"], figures.step_s
    row: dict[str, Any] = {
        "batch_size": batch_size,
        "input_seq_len": _whole(figures.input_tokens),
        "output_seq_len": max_new_tokens,
    }
    if prefill_s is None:
        return row
    return row | {
        "e2e_time(ms)": milliseconds(prefill_s + sum(steps)),
        "prefill_time(ms)": milliseconds(prefill_s),
        "decoder_token_time(ms)": milliseconds(sum(steps) / max(1, max_new_tokens - 1)),
        "prefill_count": 1,
        "prefill_token_times": repr(prefill_s),
        "decode_token_times": ",".join(map(repr, steps)),
        "prefill_average_time(ms)": milliseconds(prefill_s / batch_size),
    }


def _whole(mean: float | None) -> float | int | None:
    """A mean count as the whole number that it usually is."""
    return int(mean) if mean is not None and mean.is_integer() else mean
