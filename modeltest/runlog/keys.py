"""What a reply belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modeltest.records import AudioFacts, Sample
from modeltest.runlog.manifest import digest


def sample_key(sample: Sample, facts: Sequence[AudioFacts], identity_sha256: str) -> str:
    """What a reply belongs to: sample, audio bytes, and the run's identity.

    The identity covers the rendered prompt, the model's files and the generation
    settings, so a reply can never be taken for another prompt's or model's.
    """
    clips = [fact.sha256 for fact in facts]
    return digest([sample.sample_id, sample.truth, clips, identity_sha256])


def record_key(record: Mapping[str, Any], identity_sha256: str) -> str:
    """The key that a sample record must have in a run of that identity."""
    clips = [clip["sha256"] for clip in record["clips"]]
    return digest([record["sample_id"], record["truth"], clips, identity_sha256])
