"""Probes: a few samples that are asked once more behind a run, whose replies count nowhere.

The manifest announces them (`probes`: a list of indices by kind), the log has a record of each.
Runs of before there were probes announce none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modeltest.records import Response

ALONE, SILENCED = "alone", "silenced"
"""Kinds: the same request by itself; the same request with silence in place of its clips."""

Probe = tuple[str, int]
"""Kind, and the sample's place in the task's order."""


def probe_record(
    probe: Probe, sample_id: str, response: Response, answer: str | None
) -> dict[str, Any]:
    """The reply to a probe as a log record.

    Args:
        probe: Which one.
        sample_id: Of the sample that was asked.
        response: What came back.
        answer: What the task read out of it.
    """
    kind, index = probe
    return {
        "type": "probe",
        "kind": kind,
        "index": index,
        "sample_id": sample_id,
        "text": response.text,
        "answer": answer,
        "option_logits": rounded(response.option_logits),
        "error": response.error,
    }


def rounded(logits: Iterable[float]) -> list[float]:
    """Logits as the log keeps them: six significant digits."""
    return [float(f"{logit:.6g}") for logit in logits]


def planned_probes(manifest: Mapping[str, Any]) -> list[Probe]:
    """What a manifest announces, each once; none where it is of before there were probes."""
    planned = manifest.get("probes", {})
    kinds = (SILENCED, ALONE)
    return list(dict.fromkeys((kind, i) for kind in kinds for i in planned.get(kind, ())))


def logged_probes(
    manifest: Mapping[str, Any], records: Iterable[Mapping[str, Any]]
) -> dict[Probe, Mapping[str, Any]]:
    """The record of each planned probe that has one: the first reply, else the first failure."""
    found: dict[Probe, Mapping[str, Any]] = {}
    planned = frozenset(planned_probes(manifest))
    for record in records:
        probe = (record["kind"], record["index"])
        if probe not in planned:
            continue
        if probe not in found or (found[probe]["error"] and not record["error"]):
            found[probe] = record
    return found


def missing_probes(
    manifest: Mapping[str, Any], records: Iterable[Mapping[str, Any]]
) -> list[Probe]:
    """Planned probes of which the log has neither a reply nor a failure."""
    found = logged_probes(manifest, records)
    return [probe for probe in planned_probes(manifest) if probe not in found]
