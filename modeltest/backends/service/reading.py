"""Reads an answer's body into a reply, whole or piece by piece, and takes the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from modeltest.backends.service.failures import AskError, shortened
from modeltest.backends.service.reply import Reply, Route, json_value
from modeltest.backends.service.secret import CleanPieces
from modeltest.backends.service.transport import Answer
from modeltest.records import Request, StreamTimes

_EVENTS = "text/event-stream"
# A body with neither ends with its connection, however that ended (RFC 9112, 6.3).
_FRAMING = frozenset({"transfer-encoding", "content-length"})
# After its end mark a stream's last bytes come with it, or the connection is not used again.
_PATIENCE_S = 0.2


@dataclass(frozen=True, slots=True)
class Arrived:
    """A reply and when it was there.

    Attributes:
        reply: Whole.
        end_s: `time.perf_counter()` at its last byte.
        piece_s: The same at each piece of a stream.
    """

    reply: Reply
    end_s: float
    piece_s: tuple[float, ...] = ()

    def stream_times(self, start_s: float) -> StreamTimes | None:
        """When the pieces arrived, from the sending of the request; None without any."""
        if not self.piece_s:
            return None
        pairs = zip(self.piece_s, self.piece_s[1:], strict=False)
        return StreamTimes(
            ttft_s=self.piece_s[0] - start_s,
            gap_s=tuple(later - earlier for earlier, later in pairs),
        )


async def read_whole(answer: Answer, route: Route, request: Request) -> Arrived:
    """Reads a body of JSON.

    Raises:
        AskError: It holds no complete reply.
    """
    if answer.media_type and not _is_json(answer.media_type):
        raise AskError(f"the reply is {shortened(answer.media_type)}, not JSON")
    body = b"".join([chunk async for chunk in answer.chunks])
    end_s = time.perf_counter()
    return Arrived(route.read(json_value(body), request), end_s)


async def read_stream(answer: Answer, route: Route, pieces: CleanPieces | None) -> Arrived:
    """Reads a stream up to its end mark, or the body's end.

    Args:
        answer: Its body.
        route: Knows its form.
        pieces: Told of each piece as soon as it is there.

    Raises:
        AskError: It holds no complete reply.
    """
    if answer.media_type and answer.media_type != _EVENTS:
        if _is_json(answer.media_type):  # an error, which would rather be read than its type
            json_value(b"".join([chunk async for chunk in answer.chunks]))
        raise AskError(f"the reply is {shortened(answer.media_type)}, not {_EVENTS}")
    reading = _Reading(pieces)
    stream = route.new_stream()
    if not stream.tells_its_end and _FRAMING.isdisjoint(map(str.lower, answer.headers)):
        raise AskError(
            "the stream's end cannot be told from a cut: it has neither chunks nor a length"
        )
    async for octets in answer.chunks:
        reading.add(stream.feed(octets))
        if stream.is_done:
            break
    reading.end_s = time.perf_counter()
    reply = stream.end()
    if stream.is_done:
        await _drained(answer.chunks)
    return Arrived(reply, reading.end_s, tuple(reading.piece_s))


@dataclass(slots=True)
class _Reading:
    pieces: CleanPieces | None
    piece_s: list[float] = field(default_factory=list)
    end_s: float = 0.0

    def add(self, pieces: list[str]) -> None:
        """Takes the time of pieces that arrived together, and passes them on."""
        now_s = time.perf_counter()
        for piece in pieces:
            self.piece_s.append(now_s)
            if self.pieces:
                self.pieces.add(piece)


async def _drained(chunks: AsyncIterator[bytes]) -> None:
    """Reads on to the body's end for a moment, so that the connection can be used again."""

    async def rest() -> None:
        async for _ in chunks:
            pass

    with suppress(AskError, asyncio.TimeoutError, TimeoutError):  # the reply is whole
        await asyncio.wait_for(rest(), _PATIENCE_S)


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")
