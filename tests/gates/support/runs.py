"""What lies on the disk after a run, in a form that runs can be compared in."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

TIMED_METRICS = {"load_s", "eval_s", "samples_per_s", "audio_seconds_per_s"}
_REPORTS = {
    "result": "results/**/*_result.csv",
    "confusion": "results/**/*_confusion.csv",
    "slices": "results/**/*_slices.csv",
    "samples": "results/**/*_samples.csv",
    "replies": "debug/**/output_*.txt",
    "report": "runs/*/report.html",
}


def run_folder(folder: Path) -> Path | None:
    """The folder of the only run that has a manifest, or None."""
    found = list(folder.glob("outputs/*/modeltest/*/*_result/runs/*/manifest.json"))
    if len(found) > 1:
        raise RuntimeError(f"{len(found)} runs below {folder}")
    return found[0].parent if found else None


def report_files(folder: Path) -> dict[str, Path]:
    """The report files of the only run below a folder; those that are there."""
    [root] = folder.glob("outputs/*/modeltest/*/*_result")
    files = {}
    for name, pattern in _REPORTS.items():
        for path in root.glob(pattern):
            if name in files:
                raise RuntimeError(f"two files {name} below {folder}")
            files[name] = path
    return files


def report_bytes(folder: Path) -> dict[str, bytes]:
    """The report files as they are."""
    return {name: path.read_bytes() for name, path in report_files(folder).items()}


def comparable(folder: Path) -> dict[str, str]:
    """The reports without what may differ between two runs: run id, times, speed, manifest."""
    found = {}
    for name, content in report_bytes(folder).items():
        text = content.decode("utf-8")
        if name in {"result", "samples", "slices"}:
            text = repr([_timeless(row) for row in csv.DictReader(io.StringIO(text, newline=""))])
        text = re.sub(r"\d{6}-[0-9a-f]{6}", "RUN", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:+.-]+", "TIME", text)
        text = re.sub(r"(?m)^e2e_time: .*$", "e2e_time:", text)
        text = re.sub(r'<section class="timed">.*?</section>', "", text, flags=re.DOTALL)
        text = re.sub(r'\s*<div class="card timed">.*?</div>', "", text)
        text = re.sub(r'<details class="manifest">.*?</details>', "", text, flags=re.DOTALL)
        text = re.sub(r'"e2e":\[[^]]*\]', "", text)
        found[name] = text
    return found


def _timeless(row: dict[str, str]) -> dict[str, str]:
    kept = {name: cell for name, cell in row.items() if name not in {"run", "created", "e2e_s"}}
    if kept.get("metric") in TIMED_METRICS:
        del kept["value"]
    return kept


def log_lines(run: Path) -> list[bytes]:
    """All lines of all segments."""
    segments = sorted(run.glob("log/*.jsonl"))
    return [line for path in segments for line in path.read_bytes().split(b"\n") if line]


def sample_counts(run: Path) -> Counter[str]:
    """How many whole records of each sample's key the log holds."""
    from modeltest.runlog.segment import decode_line

    records: list[dict[str, Any] | None] = [decode_line(line) for line in log_lines(run)]
    return Counter(r["key"] for r in records if r is not None and r["type"] == "sample")


def differences(reference: dict[str, str], found: dict[str, str]) -> list[str]:
    """Names of the reports that differ, with the first place where they do."""
    told = []
    for name, wanted in reference.items():
        text = found.get(name)
        if text is None:
            told.append(f"{name} is missing")
        elif text != wanted:
            pairs = enumerate(zip(wanted, text, strict=False))
            at = next((i for i, (a, b) in pairs if a != b), min(len(wanted), len(text)))
            told.append(
                f"{name} differs: {text[max(at - 30, 0) : at + 60]!r}, "
                f"not {wanted[max(at - 30, 0) : at + 60]!r}"
            )
    return told
