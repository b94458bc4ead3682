"""One run's log: opened by the process that works, read by everything afterwards."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modeltest.records import AudioFacts, Response, Sample, Score
from modeltest.runlog.layout import LOG_FOLDER
from modeltest.runlog.manifest import digest, read_manifest
from modeltest.runlog.segment import SegmentWriter, read_segment


def open_segment(run_folder: Path, rank: int = 0) -> SegmentWriter:
    """Starts this process's segment, `log/<host>-<rank>-<start>.jsonl`."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40] or "host"
    return SegmentWriter(run_folder / LOG_FOLDER / f"{host}-{rank}-{time.time_ns()}.jsonl")


def sample_key(sample: Sample, facts: tuple[AudioFacts, ...], identity_sha256: str) -> str:
    """What a reply belongs to: sample, audio bytes, and the run's identity.

    The identity covers the rendered prompt, the model's files and the generation
    settings, so a reply can never be taken for another prompt's or model's.
    """
    clips = [fact.sha256 for fact in facts]
    return digest([sample.sample_id, sample.truth, clips, identity_sha256])


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
        "response": asdict(response),
        "score": asdict(score),
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
        problems: What is wrong with the log: damage, or one key with two texts.
        torn: Segments whose last line is incomplete.
    """

    folder: Path
    manifest: Mapping[str, Any]
    samples: tuple[Mapping[str, Any], ...]
    phases: tuple[Mapping[str, Any], ...]
    problems: tuple[str, ...]
    torn: tuple[str, ...]


def read_run(folder: Path) -> RunContent:
    """Reads manifest and segments and merges the records by key.

    Raises:
        DataError: There is no readable manifest.
    """
    manifest = read_manifest(folder)
    by_key: dict[str, dict[str, Any]] = {}
    phases: list[dict[str, Any]] = []
    problems: list[str] = []
    torn: list[str] = []
    for path in sorted((folder / LOG_FOLDER).glob("*.jsonl")):
        segment = read_segment(path)
        if segment.damaged:
            problems.append(f"segment {path.name} is damaged inside")
        if segment.torn:
            torn.append(path.name)
        for record in segment.records:
            if record["type"] == "phase":
                phases.append(record)
            elif record["type"] == "sample":
                first = by_key.setdefault(record["key"], record)
                if first["response"]["text"] != record["response"]["text"]:
                    problems.append(f"two different replies for {record['sample_id']}")
    samples = sorted(by_key.values(), key=lambda record: int(record["index"]))
    return RunContent(folder, manifest, tuple(samples), tuple(phases), tuple(problems), tuple(torn))
