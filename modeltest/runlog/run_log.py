"""One run's log: opened by the process that works, read by everything afterwards."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.errors import StorageError, one_line
from modeltest.records import Response, Sample, Score
from modeltest.runlog import first_version
from modeltest.runlog.fitting import TaskFit
from modeltest.runlog.layout import LOG_FOLDER
from modeltest.runlog.log_reader import LogReader, head_record
from modeltest.runlog.manifest import manifest_sha256, read_sealed
from modeltest.runlog.manifest_shape import check_eval_manifest
from modeltest.runlog.merge import FoundRecords, Merged
from modeltest.runlog.probes import rounded
from modeltest.runlog.segment import SegmentWriter

_RESPONSE_FIELDS = (
    "text", "input_text", "input_tokens", "output_tokens", "finish_reason", "error",
)  # fmt: skip


def open_segment(run_folder: Path, rank: int = 0, manifest: str = "") -> SegmentWriter:
    """Starts this process's segment, `log/<host>-<rank>-<start>.jsonl`, with its head.

    Args:
        run_folder: Where the log is.
        rank: Tells apart the processes of a host.
        manifest: The SHA-256 of the run's manifest, where that lies on another host.

    Raises:
        StorageError: It cannot be made, or there is no manifest.
    """
    head = head_record(manifest or manifest_sha256(run_folder))
    host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40] or "host"
    path = run_folder / LOG_FOLDER / f"{host}-{rank}-{time.time_ns()}.jsonl"
    try:
        segment = SegmentWriter(path)
    except OSError as error:  # a full disk, a file in the folder's place
        reason = error.strerror or type(error).__name__
        raise StorageError(one_line(f"{path}: cannot be made ({reason})")) from error
    try:
        segment.append(head)
    except BaseException:
        segment.close()
        raise
    return segment


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
            "option_logits": rounded(response.option_logits),
            "timing": {"e2e_s": response.timing.e2e_s} if response.timing else None,
        },
        "score": {name: getattr(score, name) for name in Score.__slots__},
    }


def phase_record(name: str, seconds: float, **facts: Any) -> dict[str, Any]:
    """How long a phase of the run took, by a monotonic clock."""
    return {"type": "phase", "name": name, "seconds": seconds, **facts}


def health_record(when: str, health: Mapping[str, Any], rank: int = 0) -> dict[str, Any]:
    """What was known of a device's health, `before` or `after` the work."""
    return {"type": "health", "when": when, "rank": rank, "health": dict(health)}


def stop_record(reason: str) -> dict[str, Any]:
    """Why the run ends before its last sample."""
    return {"type": "stop", "reason": reason}


def worker_record(
    number: int, device: Mapping[str, Any], machine: Mapping[str, Any]
) -> dict[str, Any]:
    """One of several workers: its device, host, packages and environment."""
    return {"type": "worker", "number": number, "device": dict(device), **machine}


@dataclass(frozen=True, slots=True)
class RunContent:
    """A run as it lies on the disk; every report is a function of this.

    Attributes:
        folder: The run's folder.
        manifest: What decided the run.
        samples: Sample records, one per key, in the task's order; each is read from the log
            when it is asked for, so a loop over them costs time and no memory.
        phases: Phase records in the order of the log.
        splits: Batches that had to be halved.
        stops: Why the run ended before its last sample, if it did so by itself.
        problems: What makes the log unfit: damage, another run's segment, one key with two
            texts, other samples than the manifest's.
        redealt: Batches whose worker ended, which were dealt again.
        given_up: Workers that could not go on, the others did their work.
        workers: What each worker computed on, once for each of its starts; none where one
            process did all.
        probes: Replies to what was asked once more behind the samples.
        torn: Segments whose last line is incomplete; that line was never acknowledged.
        damaged: Segments that are damaged inside; `problems` names them, too.
        health: What was known of each process's device before and after its work; the content
            may be anything.
    """

    folder: Path
    manifest: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]
    phases: tuple[Mapping[str, Any], ...] = ()
    splits: tuple[Mapping[str, Any], ...] = ()
    stops: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[str, ...] = ()
    redealt: tuple[Mapping[str, Any], ...] = ()
    given_up: tuple[Mapping[str, Any], ...] = ()
    workers: tuple[Mapping[str, Any], ...] = ()
    probes: tuple[Mapping[str, Any], ...] = ()
    torn: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    health: tuple[Mapping[str, Any], ...] = ()


def read_run(folder: Path) -> RunContent:
    """Reads manifest and segments and merges the records by key.

    Every line's checksum is verified; in memory stays where each sample's record lies.

    Raises:
        DataError: There is no readable manifest of an accuracy run, or a file of the log
            cannot be read.
    """
    manifest, sha256 = read_sealed(folder)
    check_eval_manifest(manifest, folder)
    log = LogReader(folder, manifest, sha256)
    found = FoundRecords(manifest["identity_sha256"], manifest["schema_version"])
    fit = TaskFit(manifest)
    others: dict[str, list[dict[str, Any]]] = {}
    for number, path in enumerate(log.segments):
        for offset, length, record in log.records(path):
            if record["type"] == "sample":
                fit.check(record, path)
                found.add(number, offset, length, record)
            else:
                others.setdefault(record["type"], []).append(record)
    merged = found.merged(log.segments)
    return RunContent(
        folder=folder,
        manifest=manifest,
        samples=merged.samples,
        phases=tuple(others.get("phase", [])),
        splits=tuple(others.get("split", [])),
        stops=tuple(others.get("stop", [])),
        problems=(*log.problems(), *merged.contradictions, *_foreign(manifest, merged)),
        redealt=tuple(others.get("redealt", [])),
        given_up=tuple(others.get("given_up", [])),
        workers=tuple(others.get("worker", [])),
        probes=tuple(others.get("probe", [])),
        torn=tuple(log.torn),
        damaged=tuple(log.damaged),
        health=tuple(others.get("health", [])),
    )


def _foreign(manifest: Mapping[str, Any], merged: Merged) -> list[str]:
    """Whether records are another run's, or a log with all planned samples or more has others."""
    if merged.num_strangers:
        return [f"{merged.num_strangers} samples in the log belong to another run"]
    data = manifest["data"]
    if len(merged.samples) < data["num_samples"]:
        return []
    first = manifest["schema_version"] == first_version.FIRST_VERSION
    found = first_version.data_sha256(merged.samples) if first else merged.data_sha256
    if found == data["sha256"]:
        return []
    return ["the samples in the log are not those of the manifest"]
