"""The CSV files of an accuracy run: RFC 4180, UTF-8, full precision, one header line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from modeltest.metrics.confusion import Confusion
from modeltest.records import Aggregate
from modeltest.reports.summary import Summary
from modeltest.runlog.run_log import RunContent

RESULT_COLUMNS = (
    "run", "validity", "reasons", "model", "task", "task_version", "subset", "metric", "value",
    "ci_low", "ci_high", "ci_method", "stderr", "total", "correct", "unparsed", "errors",
    "batch_size", "tp", "dp", "dtype", "device", "device_name", "attention", "created",
)  # fmt: skip
SAMPLE_COLUMNS = (
    "sample_id", "audio", "truth", "answer", "correct", "output", "input_tokens",
    "output_tokens", "e2e_s", "error", "validity",
)  # fmt: skip
SLICE_COLUMNS = (
    "run", "validity", "reasons", "model", "task", "task_version", "key", "value", "other",
    "difference", "ci_low", "ci_high", "ci_method", "p_value", "p_holm", "total", "other_total",
    "dtype", "device", "device_name", "created",
)  # fmt: skip
PAIR_COLUMNS = ("first_audio", "second_audio", "answer", "validity")
INDEX_COLUMNS = (
    "run", "created", "command", "model", "task", "device", "dtype", "metric", "value",
    "total", "validity", "reasons", "path",
)  # fmt: skip

NUM_OF_A_PAIR = 2
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")
_PART_CHARACTERS = 1 << 16


def csv_bytes(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], header: bool = True
) -> bytes:
    """Rows as a CSV file; None is an empty cell, floats keep every digit."""
    return b"".join(csv_parts(columns, rows, header))


def csv_parts(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], header: bool = True
) -> Iterator[bytes]:
    """As `csv_bytes`, in parts of bounded size, however many rows there are."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n")
    if header:
        writer.writerow([csv_text(column) for column in columns])
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
        if stream.tell() >= _PART_CHARACTERS:
            yield stream.getvalue().encode("utf-8")
            stream.seek(0)
            stream.truncate()
    yield stream.getvalue().encode("utf-8")


def result_csv(run: RunContent, summary: Summary) -> bytes:
    """`*_result.csv`: one row per subset and metric."""
    return csv_bytes(RESULT_COLUMNS, result_rows(run, summary))


def result_rows(run: RunContent, summary: Summary) -> Iterator[dict[str, Any]]:
    """The rows of `*_result.csv`."""
    shared = _run_columns(run, summary)
    return ({**shared, **_aggregate_columns(aggregate)} for aggregate in summary.aggregates)


def samples_csv(run: RunContent, summary: Summary) -> Iterator[bytes]:
    """`*_samples.csv`: one row per sample in the task's order, in parts."""
    return csv_parts(SAMPLE_COLUMNS, sample_rows(run, summary))


def sample_rows(run: RunContent, summary: Summary) -> Iterator[dict[str, Any]]:
    """The rows of `*_samples.csv`."""
    return (_sample_row(record, summary) for record in run.samples)


def pairs_csv(run: RunContent, summary: Summary) -> Iterator[bytes]:
    """`*_pairs.csv`: the columns of the original tool for two clips per sample."""
    rows = (
        {
            "first_audio": record["clips"][0]["name"],
            "second_audio": record["clips"][1]["name"],
            "answer": record["response"]["text"],
            "validity": summary.verdict.validity,
        }
        for record in run.samples
        if len(record["clips"]) == NUM_OF_A_PAIR
    )
    return csv_parts(PAIR_COLUMNS, rows)


def confusion_csv(summary: Summary) -> bytes:
    """`*_confusion.csv`: one row per true label, one column per answer; no row without labels."""
    table = summary.confusion or Confusion((), ())
    columns = ("truth", *table.columns, "total", "validity")
    rows = (
        dict(zip(columns, (label, *counts, sum(counts), summary.verdict.validity), strict=True))
        for label, counts in zip(table.labels, table.counts, strict=True)
    )
    return csv_bytes(columns, rows)


def slices_csv(run: RunContent, summary: Summary) -> bytes:
    """`*_slices.csv`: one row per difference between two values of a slice."""
    shared = _run_columns(run, summary)
    rows = ({**shared, **asdict(each)} for each in summary.slice_differences)
    return csv_bytes(SLICE_COLUMNS, rows)


def index_row(run: RunContent, summary: Summary, path: str) -> dict[str, Any]:
    """The run's line in `index.csv`, with its headline number."""
    shared = _run_columns(run, summary)
    metric, headline = summary.headline
    return {
        **shared,
        "command": "eval",
        "metric": metric,
        "value": headline.value if headline else None,
        "total": summary.num_done,
        "path": path,
    }


def _run_columns(run: RunContent, summary: Summary) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "run": manifest["place"]["run_id"],
        **_verdict_columns(summary),
        "model": manifest["model"]["name"],
        "task": manifest["task"]["name"],
        "task_version": manifest["task"]["settings"]["version"],
        "batch_size": manifest["place"]["batch_size"],
        "tp": manifest["place"]["tp"],
        "dp": manifest["dp"],
        "dtype": manifest["place"]["dtype"],
        "device": manifest["place"]["device_label"],
        "device_name": manifest["device"]["name"],
        "attention": manifest["model"]["settings"]["attention"],
        "created": manifest["started"],
    }


def _verdict_columns(summary: Summary) -> dict[str, str]:
    return {
        "validity": summary.verdict.validity,
        "reasons": "; ".join(summary.verdict.reasons),
    }


def _aggregate_columns(aggregate: Aggregate) -> dict[str, Any]:
    names = (
        "subset", "metric", "value", "ci_low", "ci_high", "ci_method", "stderr", "total",
        "correct", "unparsed", "errors",
    )  # fmt: skip
    return {name: getattr(aggregate, name) for name in names}


def _sample_row(record: Mapping[str, Any], summary: Summary) -> dict[str, Any]:
    response, score = record["response"], record["score"]
    timing = response["timing"] or {}
    return {
        "sample_id": record["sample_id"],
        "audio": "|".join(clip["name"] for clip in record["clips"]),
        "truth": record["truth"],
        "answer": score["answer"],
        "correct": score["correct"] if record["truth"] else None,
        "output": response["text"],
        "input_tokens": response["input_tokens"],
        "output_tokens": response["output_tokens"],
        "e2e_s": timing.get("e2e_s"),
        "error": response["error"],
        "validity": summary.verdict.validity,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return csv_text(str(value))


def csv_text(text: str) -> str:
    """Text for a cell: no spreadsheet takes it for a formula (CWE-1236).

    NUL and lone surrogates, which readers of CSV refuse, become escapes.
    """
    if text.startswith(_FORMULA_STARTS):
        text = "'" + text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
