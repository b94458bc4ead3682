"""What a reply belongs to; cheap to make, since every record of a replayed log is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from modeltest.records import AudioFacts, Sample

ROW_BYTES = 32


def sample_row(sample: Sample, facts: Sequence[AudioFacts]) -> bytes:
    """What a sample is: id, truth, metadata and audio bytes, as `ROW_BYTES` of SHA-256."""
    clips = [fact.sha256 for fact in facts]
    return _row(sample.sample_id, sample.truth, sample.metadata, clips)


def record_row(record: Mapping[str, Any]) -> bytes:
    """The row of the sample that a record speaks of."""
    clips = [clip["sha256"] for clip in record["clips"]]
    return _row(record["sample_id"], record["truth"], record["metadata"], clips)


def reply_key(row: bytes, identity_sha256: str, repeat: int = 0) -> str:
    """What a reply belongs to: a sample's row, the run's identity, and which asking it was.

    The identity covers the rendered prompt, the model's files and the generation
    settings, so a reply can never be taken for another prompt's or model's.
    """
    rest = f"{repeat} {identity_sha256}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(row + rest).hexdigest()


def sample_key(sample: Sample, facts: Sequence[AudioFacts], identity_sha256: str) -> str:
    """The key of the reply to a sample in a run of that identity."""
    return reply_key(sample_row(sample, facts), identity_sha256)


def data_sha256(rows: bytes | bytearray | memoryview) -> str:
    """Identifies ids, truths, metadata and audio of samples by their rows in the task's order."""
    return hashlib.sha256(rows).hexdigest()


def _row(sample_id: str, truth: str, metadata: Mapping[str, str], clips: list[str]) -> bytes:
    # Of strings, `ascii` is unambiguous and the same in every Python, and a fifth of JSON's cost.
    text = ascii((sample_id, truth, sorted(metadata.items()), clips))
    return hashlib.sha256(text.encode()).digest()
