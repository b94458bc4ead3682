"""Rows as pandas frames.

Cells hold what was logged: text as the model wrote it, where a CSV file protects spreadsheets
from it. Whole numbers are `Int64`, words `string`, truth values `boolean`, all else `float64`;
what was not measured is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

TIMING_COLUMNS = ("sample_id", "audio_s", "input_tokens", "output_tokens", "e2e_s")
REPLY_COLUMNS = ("batch_size", "mode", "pass", "sample_id", "output")
_STAGES = ("feature_s", "encoder_s", "prefill_s", "ttft_s", "detokenize_s")
BATCH_COLUMNS = (
    "batch_size", "mode", "pass", "round", "kind", "start_s", "e2e_s", *_STAGES, "decode_s",
    "audio_s", "input_tokens", "output_tokens", "errors",
)  # fmt: skip


def timing_rows(samples: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row of `TIMING_COLUMNS` per sample record of an accuracy run."""
    for record in samples:
        response = record["response"]
        yield {
            "sample_id": record["sample_id"],
            "audio_s": float(sum(clip["heard_s"] for clip in record["clips"])),
            "input_tokens": response["input_tokens"],
            "output_tokens": response["output_tokens"],
            "e2e_s": (response["timing"] or {}).get("e2e_s"),
        }


def reply_rows(outputs: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row of `REPLY_COLUMNS` per reply that a sweep's log keeps."""
    for record in outputs:
        for name, text in record["items"]:
            yield {**_block_cells(record), "sample_id": name, "output": text}


def batch_rows(rounds: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row of `BATCH_COLUMNS` per batch of a sweep's rounds."""
    for record in rounds:
        for batch in record["batches"]:
            steps = batch["step_s"]
            yield {
                **_block_cells(record),
                "round": record["number"],
                "kind": record["kind"],
                "start_s": float(record["start_s"]),
                "e2e_s": batch["e2e_s"],
                **{stage: batch[stage] for stage in _STAGES},
                "decode_s": None if steps is None else float(sum(steps)),
                "audio_s": float(batch["audio_s"]),
                "input_tokens": _sum(batch["input_tokens"]),
                "output_tokens": _sum(batch["output_tokens"]),
                "errors": len(batch["errors"]),
            }


def frame(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """Rows as a frame; a column without any value is `float64`."""
    import pandas

    cells: dict[str, list[Any]] = {column: [] for column in columns}
    for row in rows:
        for column, values in cells.items():
            values.append(row.get(column))
    return pandas.DataFrame(
        {column: pandas.Series(values, dtype=_dtype(values)) for column, values in cells.items()}
    )


def _block_cells(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("batch_size", "mode", "pass")}


def _sum(counts: Sequence[int | None]) -> int | None:
    """None where one of them is not known."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _dtype(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    names = {bool: "boolean", str: "string", int: "Int64"}
    return names.get(kinds.pop(), "float64") if len(kinds) == 1 else "float64"
