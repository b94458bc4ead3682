"""What the records of a sweep's log look like; see record_shape.py.

A sweep's log is short, so that these checks may be slower and look at the values, too: a
report divides by some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_MODES = frozenset({"fixed", "natural"})
_STAGES = ("feature_s", "encoder_s", "prefill_s", "ttft_s", "detokenize_s")
_WORK = ("useful_flops", "executed_flops", "num_bytes")
_MAX_COUNT = 1 << 53
_MAX_SECONDS, _SHORTEST_S = 1e10, 1e-12
_MAX_WORK = 1e30


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0 that a float can hold."""
    return type(value) is int and 0 <= value <= _MAX_COUNT


def is_seconds(value: object) -> bool:
    """Whether it is a time that can be divided by, or 0."""
    return type(value) in (int, float) and (value == 0 or _SHORTEST_S <= value <= _MAX_SECONDS)  # type: ignore[operator]


def _is_amount(value: object, least: float = 0.0) -> bool:
    return type(value) in (int, float) and least <= value <= _MAX_WORK  # type: ignore[operator]


def _is_reading(value: object) -> bool:
    """A clock's, or the difference of two, which may be a little below 0."""
    return type(value) in (int, float) and -_MAX_SECONDS <= value <= _MAX_SECONDS  # type: ignore[operator]


def _or_none(check: Callable[[object], bool], value: object) -> bool:
    return value is None or check(value)


def _are(check: Callable[[object], bool], values: object) -> bool:
    return type(values) is list and all(map(check, values))


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_count_or_none(value: object) -> bool:
    return _or_none(is_count, value)


def _is_point(record: Mapping[str, Any]) -> bool:
    return is_count(record["batch_size"]) and record["batch_size"] > 0 and record["mode"] in _MODES


def _is_block(record: Mapping[str, Any]) -> bool:
    return _is_point(record) and is_count(record["pass"])


def _is_round(record: Mapping[str, Any]) -> bool:
    return (
        _is_block(record)
        and _is_text(record["kind"])
        and _is_reading(record["start_s"])
        and _is_reading(record["end_s"])
        and _or_none(_is_reading, record["suspended_s"])
        and _or_none(_is_reading, record.get("other_load"))
        and _or_none(is_count, record.get("peak_memory_bytes"))
        and _or_none(is_seconds, record.get("wall_s"))
        and _or_none(_is_amount, record.get("client_cpu"))
        and _or_none(is_seconds, record.get("prepare_s"))
        and _are(_is_batch, record["batches"])
    )


def _is_batch(batch: Any) -> bool:
    return (
        _or_none(is_seconds, batch["e2e_s"])
        and all(_or_none(is_seconds, batch[name]) for name in _STAGES)
        and (batch["step_s"] is None or _are(is_seconds, batch["step_s"]))
        and is_seconds(batch["audio_s"])
        and _are(_is_count_or_none, batch["input_tokens"])
        and _are(_is_count_or_none, batch["output_tokens"])
        and _or_none(is_count, batch["audio_tokens"])
        and _is_text(batch["outputs_sha256"])
        and _are(_is_text, batch["errors"])
    )


def _is_outputs(record: Mapping[str, Any]) -> bool:
    correct = record.get("correct")
    return (
        _is_block(record)
        and _are(_is_item, record["items"])
        and (correct is None or (is_count(correct) and is_count(record["total"])))
    )


def _is_item(item: object) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(map(_is_text, item))


def _is_work(record: Mapping[str, Any]) -> bool:
    stages = record["stages"].values()
    return _is_point(record) and all(
        _is_amount(work[name]) and (work[name] == 0 or work[name] >= 1)
        for work in stages
        for name in _WORK
    )


def _are_peaks(record: Mapping[str, Any]) -> bool:
    return (
        _is_amount(record["bandwidth_bytes_per_s"], 1.0)
        and _is_amount(record["flops_per_s"], 1.0)
        and _is_text(record["source"])
    )


def _is_reason(record: Mapping[str, Any]) -> bool:
    return _is_point(record) and _is_text(record["reason"])


CHECKS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "round": _is_round,
    "block": _is_block,
    "outputs": _is_outputs,
    "work": _is_work,
    "peaks": _are_peaks,
    "point_failure": _is_reason,
    "degraded": _is_reason,
}
