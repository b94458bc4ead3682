"""Many segments' sample records become one run's: one record per key, in the task's order."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.runlog import first_version
from modeltest.runlog.digests import SHORT_BYTES, short_digest
from modeltest.runlog.keys import ROW_BYTES, data_sha256, record_row, reply_key
from modeltest.runlog.logged_samples import LoggedSamples


@dataclass(frozen=True, slots=True)
class Merged:
    """What the records come to.

    Attributes:
        samples: One record of each key, by the samples' place in the task: the first reply,
            or where there is none the first failure. Of two workers' segments nobody knows
            which record came first, so a failure must not hide a reply by its file's name.
        contradictions: A line for each later reply with another text; a failure is no reply.
        num_strangers: Samples whose key is not this run's.
        data_sha256: Of `samples`; see `modeltest.runlog.keys.data_sha256`.
    """

    samples: Sequence[Mapping[str, Any]]
    contradictions: Sequence[str]
    num_strangers: int
    data_sha256: str


class FoundRecords:
    """Where sample records lie and which are the same; 90 bytes a record."""

    def __init__(self, identity_sha256: str | None, schema_version: int) -> None:
        """Holds nothing yet.

        Args:
            identity_sha256: The run's; without it no record is a stranger.
            schema_version: The manifest's; it says what a key is made of.
        """
        self._identity_sha256 = identity_sha256
        self._schema_version = schema_version
        self._segments = array("I")
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._indices = array("q")
        self._keys = bytearray()
        self._rows = bytearray()
        self._texts = array("q")
        self._failed = bytearray()
        self._strange = bytearray()

    def add(self, segment: int, offset: int, length: int, record: Mapping[str, Any]) -> None:
        """Takes note of a record that lies in that line of that segment."""
        row, key = record_row(record), record["key"]
        self._segments.append(segment)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._indices.append(int(record["index"]))
        self._keys += short_digest(key)
        self._rows += row
        self._texts.append(hash(record["response"]["text"]))
        self._failed.append(bool(record["response"]["error"]))
        self._strange.append(self._is_strange(record, row, key))

    def merged(self, segments: Sequence[Path]) -> Merged:
        """One record of each key, ordered."""
        if not self._segments:
            return Merged((), (), 0, data_sha256(b""))
        import numpy as np

        kind = [("segment", "u4"), ("offset", "u8"), ("length", "u8")]
        places = np.empty(len(self._segments), kind)
        places["segment"], places["offset"] = self._segments, self._offsets
        places["length"] = self._lengths
        # Of a fixed width, so that numpy's dropping of NULs at the end joins no two of them.
        keys = np.frombuffer(self._keys, f"S{SHORT_BYTES}")
        failed, texts = np.frombuffer(self._failed, np.bool_), np.asarray(self._texts)
        replies_first = np.argsort(failed, kind="stable")
        _, first, number = np.unique(keys[replies_first], return_index=True, return_inverse=True)
        first_of_key = np.empty_like(replies_first)
        first_of_key[replies_first] = replies_first[first[number.reshape(-1)]]
        contradicting = np.flatnonzero((texts != texts[first_of_key]) & ~failed)
        kept = np.sort(replies_first[first])
        kept = kept[np.argsort(np.asarray(self._indices)[kept], kind="stable")]
        others = LoggedSamples(segments, places[contradicting])
        rows = np.frombuffer(self._rows, np.uint8).reshape(-1, ROW_BYTES)
        return Merged(
            samples=LoggedSamples(segments, places[kept]),
            contradictions=[f"two different replies for {r['sample_id']}" for r in others],
            num_strangers=int(np.frombuffer(self._strange, np.uint8)[kept].sum()),
            data_sha256=data_sha256(rows[kept].data),
        )

    def _is_strange(self, record: Mapping[str, Any], row: bytes, key: str) -> bool:
        identity = self._identity_sha256
        if not identity:
            return False
        if self._schema_version == first_version.FIRST_VERSION:
            return first_version.record_key(record, identity) != key
        return reply_key(row, identity) != key
