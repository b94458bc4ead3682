"""What a resumed run's log has already, and whether a reply contradicts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modeltest.records import Response
from modeltest.runlog.digests import short_digest


class LoggedReplies:
    """Whose replies the log has, and a hash of each; texts are not held.

    Attributes:
        keys: Short digests of the samples' keys.
        num_failed: Failed samples among them.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Takes note of sample records, one per key."""
        self._hashes: dict[bytes, int] = {}
        done = set()
        self.num_failed = 0
        for record in records:
            key, response = short_digest(record["key"]), record["response"]
            done.add(key)
            if response["error"]:
                self.num_failed += 1
            else:
                self._hashes[key] = hash(response["text"])
        self.keys = frozenset(done)

    def has_reply(self, key: str) -> bool:
        """Whether the log has a reply to the same; a failure is none."""
        return short_digest(key) in self._hashes

    def contradict(self, key: str, response: Response) -> bool:
        """Whether the log has another reply to the same; a failure is no reply."""
        logged = self._hashes.get(short_digest(key))
        return logged is not None and not response.error and hash(response.text) != logged
