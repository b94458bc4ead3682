"""What a route does differently: how a question is read and how a reply is written."""

from __future__ import annotations

from typing import Any, Protocol

from modeltest.records import Response
from modeltest.service.content import Question
from modeltest.service.refusals import Refusal


class Form(Protocol):
    """One route's wire form."""

    media_type: str
    """Of a streamed reply."""

    def read(self, body: bytes, longest_reply: int) -> Question:
        """The question.

        Raises:
            Refusal: 422, with what is wrong.
        """
        ...

    def whole(self, question: Question, response: Response, model: str) -> dict[str, Any]:
        """The reply at once."""
        ...

    def first(self, question: Question, reply_id: str, model: str) -> bytes:
        """What a stream begins with."""
        ...

    def piece(self, text: str, reply_id: str, model: str) -> bytes:
        """A stream's next piece of text."""
        ...

    def last(self, question: Question, response: Response, model: str) -> bytes:
        """What a stream ends with."""
        ...

    def broken(self, refusal: Refusal) -> bytes:
        """What a stream ends with that cannot go on."""
        ...

    def status(self, refusal: Refusal) -> int:
        """The HTTP status of a refusal."""
        ...

    def refused(self, refusal: Refusal) -> dict[str, Any]:
        """The body of a refusal."""
        ...
