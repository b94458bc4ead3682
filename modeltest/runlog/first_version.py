"""What manifests of schema version 1 said of samples: their metadata was left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modeltest.runlog.digests import RowsDigest, digest

FIRST_VERSION = 1


def record_key(record: Mapping[str, Any], identity_sha256: str) -> str:
    """The key that a sample record must have in a run of that identity."""
    return digest([*_row(record), identity_sha256])


def data_sha256(records: Iterable[Mapping[str, Any]]) -> str:
    """Identifies ids, truths and audio of the samples of these records."""
    found = RowsDigest()
    for record in records:
        found.add(_row(record))
    return found.hexdigest()


def _row(record: Mapping[str, Any]) -> list[Any]:
    clips = [clip["sha256"] for clip in record["clips"]]
    return [record["sample_id"], record["truth"], clips]
