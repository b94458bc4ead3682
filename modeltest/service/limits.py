"""What one request may cost, and how much may be under way at once."""

from __future__ import annotations

from modeltest.service.refusals import RETRY, UNAVAILABLE, Refusal

MAX_BODY_BYTES = 64 << 20
MAX_CLIPS = 20
"""Media items of a request; MindIE's limit."""
MAX_ITEMS = 256
"""Messages of a dialogue, and parts of a message."""
MAX_TEXT_CHARACTERS = 1 << 18
DEFAULT_TOKENS = 512
"""Longest reply where a request says nothing: what the usual commands ask for."""
BODY_TIMEOUT_S = 60.0
MAX_HELD_BYTES = 1 << 30
"""Bodies and decoded clips of all requests under way."""
DRAIN_S = 30.0
"""How long accepted requests may take when the server is asked to stop."""


class Admission:
    """Counts requests under way and the memory that they hold; for the event loop's thread."""

    def __init__(self, max_requests: int, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.num_requests = 0
        self.num_bytes = 0

    def enter(self) -> Ticket:
        """Lets a request in.

        Raises:
            Refusal: 503, too many are under way.
        """
        if self.num_requests >= self._max_requests:
            raise Refusal(
                UNAVAILABLE, f"{self.num_requests} requests are under way; try again later", RETRY
            )
        self.num_requests += 1
        return Ticket(self)

    def hold(self, num_bytes: int) -> None:
        """Counts memory.

        Raises:
            Refusal: 503, it would be too much.
        """
        if self.num_bytes + num_bytes > self._max_bytes:
            raise Refusal(
                UNAVAILABLE, "the requests under way fill the memory; try again later", RETRY
            )
        self.num_bytes += num_bytes


class Ticket:
    """One request's place; `leave` gives back what it holds, once."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._num_bytes = 0
        self._is_in = True

    def hold(self, num_bytes: int) -> None:
        """Counts memory for this request; raises as `Admission.hold`."""
        self._admission.hold(num_bytes)
        self._num_bytes += num_bytes

    def release(self, num_bytes: int) -> None:
        """Gives some of it back."""
        self._admission.num_bytes -= num_bytes
        self._num_bytes -= num_bytes

    def leave(self) -> None:
        """Gives everything back."""
        if self._is_in:
            self._is_in = False
            self.release(self._num_bytes)
            self._admission.num_requests -= 1
