"""Reads a request's body within its limits of size, time and memory."""

from __future__ import annotations

import asyncio

from fastapi import Request

from modeltest.service.limits import BODY_TIMEOUT_S, MAX_BODY_BYTES, Ticket
from modeltest.service.refusals import CLOSE, TIMEOUT, TOO_LARGE, Refusal

_MOST_DISCARDED_BYTES = 4 * MAX_BODY_BYTES


async def read_body(http: Request, ticket: Ticket) -> bytes:
    """The body, if it is not larger than `MAX_BODY_BYTES`.

    Raises:
        Refusal: 408, it takes too long; 413, it is too large; 503, no memory is left.
        ClientDisconnect: The client left.
    """
    declared = http.headers.get("content-length", "0")
    is_declared_large = len(declared) > 15 or int(declared) > MAX_BODY_BYTES
    if is_declared_large and "expect" in http.headers:
        raise _too_large()  # the client asked before it sent anything
    try:
        return await asyncio.wait_for(_body(http, ticket), BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        message = f"the body took longer than {BODY_TIMEOUT_S:g} s"
        raise Refusal(TIMEOUT, message, CLOSE) from None


async def _body(http: Request, ticket: Ticket) -> bytes:
    chunks: list[bytes] = []
    num_bytes = 0
    async for chunk in http.stream():
        num_bytes += len(chunk)
        if num_bytes <= MAX_BODY_BYTES:
            ticket.hold(len(chunk))
            chunks.append(chunk)
        elif num_bytes > _MOST_DISCARDED_BYTES:
            break  # a client that sends on hears the refusal only when its body is read
        else:
            chunks.clear()
    if num_bytes > MAX_BODY_BYTES:
        raise _too_large()
    return b"".join(chunks)


def _too_large() -> Refusal:
    message = f"the body is larger than {MAX_BODY_BYTES >> 20} MiB"
    return Refusal(TOO_LARGE, message, CLOSE)
