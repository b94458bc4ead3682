"""One run's log: opened by the process that works, read by everything afterwards."""

from __future__ import annotations

import gc
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.records import AudioFacts, Response, Sample, Score
from modeltest.runlog.layout import LOG_FOLDER
from modeltest.runlog.manifest import digest, read_manifest
from modeltest.runlog.segment import SegmentContent, SegmentWriter, read_segment

_RESPONSE_FIELDS = (
    "text", "input_text", "input_tokens", "output_tokens", "finish_reason", "error",
)  # fmt: skip


def open_segment(run_folder: Path, rank: int = 0) -> SegmentWriter:
    """Starts this process's segment, `log/<host>-<rank>-<start>.jsonl`."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40] or "host"
    return SegmentWriter(run_folder / LOG_FOLDER / f"{host}-{rank}-{time.time_ns()}.jsonl")


def sample_key(sample: Sample, facts: tuple[AudioFacts, ...], identity_sha256: str) -> str:
    """What a reply belongs to: sample, audio bytes, and the run's identity.

    The identity covers the rendered prompt, the model's files and the generation
    settings, so a reply can never be taken for another prompt's or model's.
    """
    clips = [{"sha256": fact.sha256} for fact in facts]
    record = {"sample_id": sample.sample_id, "truth": sample.truth, "clips": clips}
    return _key_of(record, identity_sha256)


def _key_of(record: Mapping[str, Any], identity_sha256: str) -> str:
    clips = [clip["sha256"] for clip in record["clips"]]
    return digest([record["sample_id"], record["truth"], clips, identity_sha256])


def sample_record(  # noqa: PLR0913, PLR0917  (one record has this many parts)
    index: int,
    key: str,
    sample: Sample,
    subsets: tuple[str, ...],
    clips: tuple[Mapping[str, Any], ...],
    response: Response,
    score: Score,
) -> dict[str, Any]:
    """One evaluated sample as a log record; `index` is its place in the task's order."""
    return {
        "type": "sample",
        "index": index,
        "key": key,
        "sample_id": sample.sample_id,
        "truth": sample.truth,
        "metadata": dict(sample.metadata),
        "subsets": list(subsets),
        "clips": list(clips),
        # dataclasses.asdict copies deeply, which costs more than all the rest of a record.
        "response": {
            **{name: getattr(response, name) for name in _RESPONSE_FIELDS},
            "timing": {"e2e_s": response.timing.e2e_s} if response.timing else None,
        },
        "score": {name: getattr(score, name) for name in Score.__slots__},
    }


def phase_record(name: str, seconds: float, **facts: Any) -> dict[str, Any]:
    """How long a phase of the run took, by a monotonic clock."""
    return {"type": "phase", "name": name, "seconds": seconds, **facts}


@dataclass(frozen=True, slots=True)
class RunContent:
    """A run as it lies on the disk; every report is a function of this.

    Attributes:
        folder: The run's folder.
        manifest: What decided the run.
        samples: Sample records, one per key, in the task's order.
        phases: Phase records in the order of the log.
        splits: Batches that had to be halved.
        stops: Why the run ended before its last sample, if it did so by itself.
        problems: What makes the log unfit: damage, one key with two texts, other samples
            than the manifest's.
        torn: Segments whose last line is incomplete; that line was never acknowledged.
    """

    folder: Path
    manifest: Mapping[str, Any]
    samples: tuple[Mapping[str, Any], ...]
    phases: tuple[Mapping[str, Any], ...] = ()
    splits: tuple[Mapping[str, Any], ...] = ()
    stops: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()


def read_run(folder: Path) -> RunContent:
    """Reads manifest and segments and merges the records by key.

    Raises:
        DataError: There is no readable manifest.
    """
    manifest = read_manifest(folder)
    by_type: dict[str, list[dict[str, Any]]] = {}
    problems: list[str] = []
    torn: list[str] = []
    for path, segment in _segments(folder):
        if segment.damaged:
            problems.append(f"segment {path.name} is damaged inside; see modeltest report --repair")
        if segment.torn:
            torn.append(path.name)
        for record in segment.records:
            by_type.setdefault(record["type"], []).append(record)
    samples, contradictions = _merged(by_type.get("sample", []))
    return RunContent(
        folder=folder,
        manifest=manifest,
        samples=samples,
        phases=tuple(by_type.get("phase", [])),
        splits=tuple(by_type.get("split", [])),
        stops=tuple(by_type.get("stop", [])),
        problems=(*problems, *contradictions, *_foreign(manifest, samples)),
        torn=tuple(torn),
    )


def _segments(folder: Path) -> list[tuple[Path, SegmentContent]]:
    # Thousands of new dictionaries make the collector look through all of them again and
    # again, for nothing: JSON values have no cycles. That costs half of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return [
            (path, read_segment(path)) for path in sorted((folder / LOG_FOLDER).glob("*.jsonl"))
        ]
    finally:
        if collecting:
            gc.enable()


def _merged(
    records: Iterable[dict[str, Any]],
) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """One record per key, the first one, in the task's order; and contradictions."""
    by_key: dict[str, dict[str, Any]] = {}
    contradictions = []
    for record in records:
        first = by_key.setdefault(record["key"], record)
        if first["response"]["text"] != record["response"]["text"]:
            contradictions.append(f"two different replies for {record['sample_id']}")
    return tuple(sorted(by_key.values(), key=lambda record: int(record["index"]))), contradictions


def _foreign(manifest: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whether records are another run's, or a log with all planned samples or more has others."""
    identity = manifest.get("identity_sha256")
    strangers = sum(_key_of(record, identity) != record["key"] for record in samples if identity)
    if strangers:
        return [f"{strangers} samples in the log belong to another run"]
    data = manifest["data"]
    if len(samples) < data["num_samples"]:
        return []
    found = [[r["sample_id"], r["truth"], [c["sha256"] for c in r["clips"]]] for r in samples]
    if digest(found) == data["sha256"]:
        return []
    return ["the samples in the log are not those of the manifest"]
