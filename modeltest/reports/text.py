"""`output_<run>.txt`: every reply, the model's input and the time, for reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeltest.errors import one_line
from modeltest.reports.summary import Summary
from modeltest.runlog.run_log import RunContent


def output_text(run: RunContent, summary: Summary) -> bytes:
    """The verdict, then per sample its number and id, the reply, the input and the time."""
    lines = [one_line(str(summary.verdict))]
    for record in run.samples:
        lines += _sample_lines(record)
    return ("\n".join(lines) + "\n").encode("utf-8")


def _sample_lines(record: Mapping[str, Any]) -> list[str]:
    response = record["response"]
    timing = response["timing"]
    lines = [
        f"=== {record['index'] + 1} {one_line(record['sample_id'])}",
        f"output: {one_line(response['text'])}",
        f"input: {one_line(response['input_text'])}",
        f"e2e_time: {timing['e2e_s'] if timing else ''}",
    ]
    if response["error"]:
        lines.append(f"error: {one_line(response['error'])}")
    return lines
