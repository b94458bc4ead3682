"""What a resumed run's log has already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modeltest.runlog.digests import short_digest


class LoggedReplies:
    """Whose replies the log has, and a digest of each; texts are not held.

    Attributes:
        keys: Short digests of the samples' keys.
        num_failed: Failed samples among them.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        """Takes note of sample records, one per key."""
        self._texts: dict[bytes, bytes] = {}
        done = set()
        self.num_failed = 0
        for record in records:
            key, response = short_digest(record["key"]), record["response"]
            done.add(key)
            if response["error"]:
                self.num_failed += 1
            else:
                self._texts[key] = short_digest(response["text"])
        self.keys = frozenset(done)

    def text_digest(self, key: str) -> bytes:
        """Short digest of the logged reply's text; empty where there is none, or a failure."""
        return self._texts.get(short_digest(key), b"")
