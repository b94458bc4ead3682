"""What a client is told when it gets no answer."""

from __future__ import annotations

from collections.abc import Mapping

RETRY_AFTER_S = 1
RETRY = {"Retry-After": str(RETRY_AFTER_S)}
CLOSE = {"Connection": "close"}

BAD_REQUEST = 400
UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
TIMEOUT = 408
TOO_LARGE = 413
INVALID = 422
FAILED = 424
LOST = 500
UNAVAILABLE = 503


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: HTTP status in the form of `/generate`, which tells an unreadable body (422) and
            a failed generation (424) from other mistakes; a form may use a plainer one.
        message: One line for a person.
        headers: Of the reply.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
