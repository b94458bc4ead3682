"""From an HTTP request to its reply: read, decode, queue, write."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from modeltest.errors import one_line
from modeltest.records import Request
from modeltest.records import Response as Reply
from modeltest.service.batcher import Batcher, Event, Pending
from modeltest.service.body import read_body
from modeltest.service.clips import ClipReader
from modeltest.service.content import Question
from modeltest.service.forms import Form
from modeltest.service.limits import Admission, Ticket
from modeltest.service.metrics import ServiceMetrics
from modeltest.service.refusals import CLOSE, NOT_FOUND, UNAVAILABLE, Refusal

T = TypeVar("T")

_STOPPING = "the server is stopping; ask again elsewhere or later"
_GAVE_UP = "the server had to stop before the reply was there"
_LARGE_BODY_BYTES = 1 << 20
_CLIENT_LEFT = 499  # nobody reads it; nginx's number, in the metrics


@dataclass(frozen=True, slots=True)
class Served:
    """What clients may know.

    Attributes:
        model: The name that requests give.
        version: Of modeltest.
        longest_reply: Most new tokens, whatever a request asks for.
        created_s: When it started, Unix time.
    """

    model: str
    version: str
    longest_reply: int
    created_s: int


class Service:
    """Answers requests of every form; for the event loop's thread.

    Attributes:
        served: What clients may know.
        metrics: What was done.
        batcher: Asks the model.
        is_stopping: No new request is taken.
        num_accepted: Requests that were let in.
        num_answered: Those among them that got the model's reply.
        num_left: Those among them whose client left before; all others got an error.
    """

    def __init__(
        self,
        served: Served,
        batcher: Batcher,
        clips: ClipReader,
        admission: Admission,
        metrics: ServiceMetrics,
    ) -> None:
        self.served = served
        self.metrics = metrics
        self.batcher = batcher
        self.is_stopping = False
        self.num_accepted = 0
        self.num_answered = 0
        self.num_left = 0
        self._clips = clips
        self._admission = admission
        self._gave_up = asyncio.Event()
        metrics.watch(lambda: admission.num_requests, lambda: batcher.num_waiting)

    def give_up(self) -> None:
        """Every request that is still under way gets an error now."""
        self.is_stopping = True
        self._gave_up.set()

    async def answer(self, form: Form, http: HttpRequest, route: str) -> Response:
        """The reply to one POST."""
        exchange = _Exchange(self, form, http, route)
        try:
            return await exchange.reply()
        except Refusal as refusal:
            return exchange.refused(refusal)
        except ClientDisconnect:
            return exchange.left()
        except BaseException:
            exchange.end(500)
            raise

    def enter(self) -> Ticket:
        """Lets a request in; raises Refusal."""
        if self.is_stopping:
            raise Refusal(UNAVAILABLE, _STOPPING, CLOSE)
        ticket = self._admission.enter()
        self.num_accepted += 1
        return ticket

    def check_model(self, question: Question) -> None:
        """Refuses another model's name."""
        asked, name = question.model, self.served.model
        if asked not in {None, name}:
            text = one_line(str(asked))[:100]
            raise Refusal(NOT_FOUND, f"the model {text} is not here; this server has {name}")

    async def pending(self, question: Question, ticket: Ticket, body_bytes: int) -> Pending:
        """Decodes the clips and puts the request into the queue."""
        audio = await self._clips.read(question.clips, ticket)
        ticket.release(body_bytes)
        for clip in audio:
            self.metrics.heard(clip)
        request = Request(
            f"chatcmpl-{uuid.uuid4().hex}", audio, question.prompt, question.generation
        )
        pending = Pending(request, question.stream)
        self.batcher.submit(pending)
        return pending

    def note_answer(self, reply: Reply) -> None:
        """Counts a reply of the model."""
        self.num_answered += 1
        self.metrics.answered(reply)

    def note_left(self) -> None:
        """Counts a client that left."""
        self.num_left += 1
        self.metrics.dropped()

    async def unless_given_up(
        self, work: Coroutine[Any, Any, T], leaving: asyncio.Task[None] | None = None
    ) -> T:
        """What `work` returns.

        Raises:
            ClientDisconnect: The client left first.
            Refusal: The server gave up first; or what `work` raises.
        """
        task = asyncio.ensure_future(work)
        given_up = asyncio.ensure_future(self._gave_up.wait())
        try:
            ends = {task, given_up} | ({leaving} if leaving is not None else set())
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if leaving is not None and leaving.done():
                raise ClientDisconnect
            raise Refusal(UNAVAILABLE, _GAVE_UP, CLOSE)
        finally:
            given_up.cancel()
            task.cancel()


class _Exchange:
    """One request and its reply: whatever happens, its place is given back."""

    def __init__(self, service: Service, form: Form, http: HttpRequest, route: str) -> None:
        self._service = service
        self._form = form
        self._http = http
        self._route = route
        self._start_s = time.perf_counter()
        self._ticket: Ticket | None = None
        self._pending: Pending | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._has_ended = False

    async def reply(self) -> Response:
        """The reply, or the beginning of a stream.

        Raises:
            Refusal: There is none.
            ClientDisconnect: Nobody wants it.
        """
        service, http = self._service, self._http
        ticket = self._ticket = service.enter()
        body = await service.unless_given_up(read_body(http, ticket))
        question = await self._question(body)
        service.check_model(question)
        leaving = self._leaving = asyncio.create_task(_until_left(http))
        pending = self._pending = await service.unless_given_up(
            service.pending(question, ticket, len(body)), leaving
        )
        del body
        question = replace(question, clips=())  # their base64 is not needed any more
        first = await self._next(pending, leaving)
        if question.stream:
            return _Stream(self._pieces(question, pending, leaving, first), self, self._form)
        if not isinstance(first, Reply):
            raise TypeError(f"not a reply: {first!r}")
        service.note_answer(first)
        content = self._form.whole(question, first, service.served.model)
        self.end(200)
        return JSONResponse(content)

    def refused(self, refusal: Refusal) -> Response:
        """The reply that says why there is none."""
        status = self._form.status(refusal)
        self.end(status)
        return JSONResponse(self._form.refused(refusal), status, headers=refusal.headers)

    def left(self) -> Response:
        """For the record: nobody is there to read it."""
        if not self._has_ended:
            self._service.note_left()
            self.end(_CLIENT_LEFT)
        return Response(status_code=400)

    def end(self, status: int) -> None:
        """Gives back what the request held; only the first call counts."""
        if self._has_ended:
            return
        self._has_ended = True
        if self._leaving is not None:
            self._leaving.cancel()
        if self._pending is not None:
            self._service.batcher.drop(self._pending)
        if self._ticket is not None:
            self._ticket.leave()
        seconds = time.perf_counter() - self._start_s
        self._service.metrics.reply(self._route, status, seconds)

    async def _question(self, body: bytes) -> Question:
        longest = self._service.served.longest_reply
        if len(body) < _LARGE_BODY_BYTES:
            return self._form.read(body, longest)
        return await asyncio.to_thread(self._form.read, body, longest)

    async def _next(self, pending: Pending, leaving: asyncio.Task[None]) -> str | Reply:
        event: Event = await self._service.unless_given_up(pending.events.get(), leaving)
        if isinstance(event, Refusal):
            raise event
        return event

    async def _pieces(
        self,
        question: Question,
        pending: Pending,
        leaving: asyncio.Task[None],
        event: str | Reply,
    ) -> AsyncIterator[bytes]:
        form, model = self._form, self._service.served.model
        reply_id = pending.request.sample_id
        try:
            text, rest = (event, None) if isinstance(event, str) else ("", event)
            yield form.first(question, reply_id, model) + form.piece(text, reply_id, model)
            event = rest or await self._next(pending, leaving)
            while isinstance(event, str):
                yield form.piece(event, reply_id, model)
                event = await self._next(pending, leaving)
            self._service.note_answer(event)
            yield form.last(question, event, model)
            self.end(200)
        except Refusal as refusal:
            yield form.broken(refusal)
            self.end(form.status(refusal))
        except ClientDisconnect:
            self.left()


class _Stream(StreamingResponse):
    """Ends its exchange also when nobody reads it to its end."""

    def __init__(self, pieces: AsyncIterator[bytes], exchange: _Exchange, form: Form) -> None:
        headers = {"Cache-Control": "no-cache"}
        super().__init__(pieces, media_type=form.media_type, headers=headers)
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams."""
        try:
            with suppress(ClientDisconnect):
                await super().__call__(scope, receive, send)
        finally:
            self._exchange.left()


async def _until_left(http: HttpRequest) -> None:
    """Returns when the client is gone; the body must have been read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
