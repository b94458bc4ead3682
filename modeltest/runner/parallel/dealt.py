"""Batches as frames: what a worker must know of each sample, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from modeltest.audio.decode import fetch
from modeltest.audio.frames import Frame
from modeltest.errors import AudioError
from modeltest.records import AudioFacts, AudioSource, Sample
from modeltest.runner.batches import Batch, Member
from modeltest.runner.parallel.deck import Deal


def deal_frames(deal: Deal) -> Iterator[tuple[dict[str, Any], bytes]]:
    """A header, then one frame per sample.

    Clips with a file of their own are named; the bytes of others go along.
    """
    yield {"batch": deal.number, "num_members": len(deal.batch.members)}, b""
    for member in deal.batch.members:
        clips: list[dict[str, Any]] = []
        payload = b""
        for source in member.sample.audio:
            if source.path is not None:
                clips.append({"name": source.name, "path": str(Path(source.path).absolute())})
                continue
            try:
                encoded = fetch(source).data
            except AudioError as error:
                clips.append({"name": source.name, "failure": str(error)})
                continue
            clips.append({"name": source.name, "num_bytes": len(encoded)})
            payload += encoded
        yield _header(member, clips), payload


def _header(member: Member, clips: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "index": member.index,
        "sample_id": member.sample.sample_id,
        "truth": member.sample.truth,
        "metadata": dict(member.sample.metadata),
        "clips": clips,
        "facts": [asdict(fact) for fact in member.facts],
        "key": member.key,
        "is_missing": member.is_missing,
        "logged_digest": member.logged_digest.hex(),
        "probe": member.probe,
    }


def deal_from(header: Mapping[str, Any], frames: list[Frame]) -> Deal:
    """What `deal_frames` sent: its header, and the frames of its samples."""
    return Deal(header["batch"], Batch([_member(frame) for frame in frames]))


def _member(frame: Frame) -> Member:
    header, sources, offset = frame.header, [], 0
    for clip in header["clips"]:
        length = clip.get("num_bytes", 0)
        sources.append(_source(clip, bytes(frame.payload[offset : offset + length])))
        offset += length
    sample = Sample(header["sample_id"], tuple(sources), header["truth"], header["metadata"])
    facts = tuple(AudioFacts(**fact) for fact in header["facts"])
    return Member(
        header["index"],
        sample,
        facts,
        header["key"],
        header["is_missing"],
        bytes.fromhex(header["logged_digest"]),
        probe=header["probe"],
    )


def _source(clip: Mapping[str, Any], encoded: bytes) -> AudioSource:
    if "path" in clip:
        return AudioSource(clip["name"], path=clip["path"])
    if "failure" in clip:
        return AudioSource(clip["name"], read=partial(_fail, clip["failure"]))
    return AudioSource(clip["name"], read=lambda: encoded)


def _fail(reason: str) -> bytes:
    raise AudioError(reason)
