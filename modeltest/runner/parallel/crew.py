"""What the coordinator needs of its workers, wherever they run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

BEAT_S = 5.0
"""How often a worker says that it lives, seconds."""

Frames = Iterable[tuple[Mapping[str, Any], bytes]]
"""JSON values and raw bytes each."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker said.

    Attributes:
        worker: Its number.
        header: JSON values; `event` says of which kind.
        payload: Raw bytes.
    """

    worker: int
    header: Mapping[str, Any]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker ended, or cannot be reached any more.

    Attributes:
        worker: Its number.
        reason: How it ended, for a reader.
    """

    worker: int
    reason: str


class Crew(Protocol):
    """Workers, numbered from 0; they are started, spoken to and ended from here."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def start(self, worker: int) -> None:
        """Starts a worker, or another in the place of one that ended; does not wait."""
        ...

    def send(self, worker: int, frames: Frames) -> None:
        """Sends frames that belong together; one that ended tells so in `wait`."""
        ...

    def wait(self, timeout_s: float) -> list[Message | Ended]:
        """What happened; empty when nothing did in time. An end comes behind all messages."""
        ...

    def kill(self, worker: int, reason: str) -> None:
        """Ends a worker at once; `wait` tells of its end, for this reason."""
        ...

    def close(self) -> None:
        """Ends all workers and frees what they held."""
        ...
