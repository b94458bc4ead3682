"""`output_<run>.txt`: every reply, the model's input and the time, for reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modeltest.errors import one_line
from modeltest.reports.summary import Summary
from modeltest.runlog.run_log import RunContent


def output_text(run: RunContent, summary: Summary) -> Iterator[bytes]:
    """The verdict, then per sample its number and id, the reply, the input and the time."""
    yield f"{one_line(str(summary.verdict))}\n".encode()
    for record in run.samples:
        yield "".join(f"{line}\n" for line in _sample_lines(record)).encode()


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
