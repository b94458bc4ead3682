"""Digests of JSON values, and of what need not be held."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# Made once: the encoder is worth more than a call of `json.dumps` costs.
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode
SHORT_BYTES = 16


def digest(value: Any) -> str:
    """SHA-256 over the canonical JSON form of a value."""
    return hashlib.sha256(_CANONICAL(value).encode()).hexdigest()


class RowsDigest:
    """`digest` of a list, a row at a time."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256(b"[")
        self._separator = b""

    def add(self, row: Any) -> None:
        """Takes the next row, a JSON value."""
        self._sha256.update(self._separator + _CANONICAL(row).encode())
        self._separator = b","

    def hexdigest(self) -> str:
        """The digest of the list of the rows so far."""
        whole = self._sha256.copy()
        whole.update(b"]")
        return whole.hexdigest()


def short_digest(text: str) -> bytes:
    """16 bytes that stand for a text where only equality counts."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=SHORT_BYTES).digest()
