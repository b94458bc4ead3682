"""What a service can do wrong, byte by byte: the stated outcome, never later than stated."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from raw_http import END, HOLD, KEEP, RawServer, Script, answer, chunk, event, stream_head
from service_settings import QUESTION, ask, service_backend

from modeltest.errors import DeviceError, ModelError

DEADLINE_S = 0.8
HEAD = stream_head()
REPLY = {
    "choices": [{"message": {"content": "C: Cough"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 70, "completion_tokens": 4},
}
PIECE_1 = event({"choices": [{"delta": {"role": "assistant", "content": "C: "}}]})
PIECE_2 = event({"choices": [{"delta": {"content": "Cough"}, "finish_reason": None}]})
FINISH = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
USAGE = event({"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": 4}})
DONE = event("[DONE]")
WHOLE_STREAM = HEAD + PIECE_1 + PIECE_2 + FINISH + USAGE + DONE + END
NUL_HEAD = stream_head()
# Neither chunks nor a length: the body ends with its connection.
OPEN_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
OPEN_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
EVENTS = (
    b'data: {"choices": [{"delta": {"content": "C: Cough"}, "finish_reason": null}]}\n\n'
    b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
)
STREAMED = {"request": {"stream": True}}
NO_END = "the stream's end cannot be told from a cut"


def nul(piece: str) -> bytes:
    return chunk(json.dumps({"text": [piece]}).encode() + b"\0")


def drip(octets: bytes, pause_s: float = 0.15) -> Script:
    """A byte at a time: no single wait is long."""
    return [step for byte in octets for step in (bytes([byte]), pause_s)]


def reply_with(**message: Any) -> dict[str, Any]:
    choice = {"message": {"content": "C: Cough"}, "finish_reason": "stop", **message}
    return {"choices": [choice]}


@dataclass
class Case:
    """A script and its outcome.

    Attributes:
        scripts: Of the attempts, one after the other.
        error: Part of the sample's error; empty: the reply is whole.
        raises: The run ends by this, with `error` in its message.
        settings: Of the backend.
        backend: `openai` or `generate`.
        num_asked: How often the service is asked.
        text: The reply.
    """

    scripts: list[Script]
    error: str = ""
    raises: type[Exception] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    backend: str = "openai"
    num_asked: int = 1
    text: str = "C: Cough"


def fails(error: str, *scripts: Script, **more: Any) -> Case:
    return Case(list(scripts), error, **more)


def cut(octets: bytes, error: str) -> Case:
    """A stream of which only so much arrives."""
    return fails(error, [octets], settings={"request": {"stream": True}})


def streamed(*parts: bytes, error: str = "") -> Case:
    return Case([[b"".join(parts), KEEP]], error, settings={"request": {"stream": True}})


def generated(*parts: bytes, error: str = "", stream: bool = True, **more: Any) -> Case:
    settings = {"request": {"stream": stream}}
    return Case([[b"".join(parts), KEEP]], error, backend="generate", settings=settings, **more)


def whole(octets: bytes, error: str = "", **more: Any) -> Case:
    return Case([[octets, KEEP]], error, **more)


BUSY = answer({"error": {"message": "busy"}}, "503 Service Unavailable")
GOOD: Script = [answer(REPLY), KEEP]
RETRIES = {"retries": 2, "timeout_s": 2.0}
NOT_WHOLE = "no whole answer within 0.8 s"
DEEP = b'{"choices": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
HUGE_INT = b'{"usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}"
BOMB = gzip.compress(b"\0" * (64 << 20))

CASES: dict[str, Case] = {
    # Statuses.
    "400 in OpenAI's words": whole(
        answer({"error": {"message": "bad audio", "type": "invalid"}}, "400 Bad Request"),
        "status 400: bad audio",
    ),
    "400 in older vLLM's words": whole(
        answer({"object": "error", "message": "no such part", "code": 400}, "400 Bad Request"),
        "status 400: no such part",
    ),
    "401": whole(answer({"error": "no"}, "401 Unauthorized"), "401: no", raises=ModelError),
    "403": whole(answer({"error": "no"}, "403 Forbidden"), "403: no", raises=ModelError),
    "404": whole(
        answer({"error": "no route", "error_type": "NotFoundError"}, "404 Not Found"),
        "status 404: NotFoundError: no route",
    ),
    "422 that is no JSON inside": whole(
        answer({"error": '{"a": b, }', "error_type": "Input Validation Error"}, "422 Bad"),
        'status 422: Input Validation Error: {"a": b, }',
    ),
    "422 that is no JSON at all": whole(
        answer(b'{"detail": oops \x1b[31m', "422 Unprocessable"),
        'status 422: {"detail": oops \\x1b[31m',
    ),
    "424": whole(
        answer({"error": "oom", "error_type": "Generation Error"}, "424 Failed Dependency"),
        "status 424: Generation Error: oom",
    ),
    "429, then a reply": Case(
        [[answer({}, "429 Too Many"), KEEP], GOOD], settings=RETRIES, num_asked=2
    ),
    "429 that names a second": Case(
        [[answer({}, "429 Too Many", headers={"Retry-After": "1"}), KEEP], GOOD],
        settings=RETRIES,
        num_asked=2,
    ),
    "429 that names an hour": whole(
        answer({}, "429 Too Many", headers={"Retry-After": "3600"}), "status 429", settings=RETRIES
    ),
    "429 that names nonsense": Case(
        [[answer({}, "429 Too Many", headers={"Retry-After": "-1e999"}), KEEP], GOOD],
        settings=RETRIES,
        num_asked=2,
    ),
    "429 without retries": whole(answer({}, "429 Too Many"), "status 429"),
    "500": whole(
        answer({"message": "unhealthy"}, "500 Internal Server Error"), "status 500: unhealthy"
    ),
    "502 as a page": whole(
        answer(b"<html>bad gateway</html>", "502 Bad Gateway", "text/html"),
        "status 502: <html>bad gateway</html>",
    ),
    "503 without a body": whole(
        answer(b"", "503 Service Unavailable", None), "status 503 without a word"
    ),
    "503 twice, then a reply": Case(
        [[BUSY, KEEP], [BUSY, KEEP], GOOD], settings=RETRIES, num_asked=3
    ),
    "503 for ever": whole(BUSY, "status 503: busy", settings=RETRIES, num_asked=3),
    "204": whole(answer(b"", "204 No Content", None), "status 204 without a word"),
    "redirect": whole(
        answer(b"", "302 Found", headers={"Location": "http://127.0.0.1:9/trap"}),
        "status 302: redirects to http://127.0.0.1:9/trap, which is not followed",
    ),
    "redirect to a file": whole(
        answer(b"", "307 Temporary", headers={"Location": "file:///etc/passwd"}),
        "redirects to file:///etc/passwd",
    ),
    # Time.
    "never answers": fails(NOT_WHOLE, [HOLD]),
    "slow drip of the head": fails(NOT_WHOLE, drip(answer(REPLY))),
    "slow drip of the body": fails(
        NOT_WHOLE, [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", *drip(b" " * 99)]
    ),
    "slow drip of a stream": fails(
        NOT_WHOLE, [HEAD, *drip(PIECE_1 * 9)], settings={"request": {"stream": True}}
    ),
    "slow drip of an error's body": fails(
        NOT_WHOLE, [b"HTTP/1.1 500 No\r\nContent-Length: 999\r\n\r\n", *drip(b" " * 99)]
    ),
    "a stream that stops": fails(
        NOT_WHOLE, [HEAD + PIECE_1, HOLD], settings={"request": {"stream": True}}
    ),
    "100 Continue for ever": fails(NOT_WHOLE, drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 9, 0.01)),
    # Every cut of an answer.
    "closes at once": fails("no answer", []),
    "closes at once, then a reply": Case([[], GOOD], settings=RETRIES, num_asked=2),
    "cut in the head": cut(HEAD[:30], "no answer"),
    "cut behind the head": cut(HEAD, "the reply was cut"),
    "cut in a chunk's size": cut(HEAD + PIECE_1 + PIECE_2[:1], "the reply was cut"),
    "cut in a chunk": cut(HEAD + PIECE_1 + PIECE_2[:20], "the reply was cut"),
    "cut behind a chunk": cut(HEAD + PIECE_1 + PIECE_2, "the reply was cut"),
    "cut before [DONE]": cut(HEAD + PIECE_1 + PIECE_2 + FINISH, "the reply was cut"),
    "cut behind [DONE]": Case(
        [[WHOLE_STREAM[: -len(END)]]], settings={"request": {"stream": True}}
    ),
    "cut in the length": fails(
        "the reply was cut", [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{}"]
    ),
    "a cut is not tried again": fails(
        "the reply was cut", [HEAD + PIECE_1], settings={**RETRIES, "request": {"stream": True}}
    ),
    # Streams.
    "a whole stream": streamed(WHOLE_STREAM),
    "no [DONE], no finish reason": streamed(
        HEAD, PIECE_1, PIECE_2, END, error="without a finish reason"
    ),
    "[DONE] without a finish reason": streamed(
        HEAD, PIECE_1, DONE, END, error="without a finish reason"
    ),
    "a finish reason without [DONE]": streamed(HEAD, PIECE_1, PIECE_2, FINISH, END),
    "[DONE] and then silence": Case(
        [[WHOLE_STREAM[: -len(END)], HOLD]], settings={"request": {"stream": True}}
    ),
    "an error in a stream": streamed(
        HEAD, PIECE_1, event({"error": {"message": "lost"}}), END, error="reports: lost"
    ),
    "a chunk that is no JSON": streamed(HEAD, event("{oops"), END, error="is not JSON"),
    "JSON where a stream was asked for": streamed(answer(REPLY), error="is application/json"),
    "an error where a stream was asked for": streamed(
        answer({"error": {"message": "busy"}}), error="reports: busy"
    ),
    "a size that is none": streamed(HEAD, b"zz\r\n", error="the reply was cut"),
    "events without framing": Case([[OPEN_HEAD + EVENTS]], settings=STREAMED),
    "events without framing, cut": fails(
        "without a finish reason", [OPEN_HEAD + EVENTS[:-60]], settings=STREAMED
    ),
    # Bodies.
    "no JSON": whole(answer(b"{oops"), "the reply is not JSON"),
    "no UTF-8": whole(answer(b'{"a": "\xff"}'), "the reply is not JSON"),
    "NaN": whole(answer(b'{"choices": NaN}'), "is JSON that is refused"),
    "a key twice": whole(answer(b'{"choices": [], "choices": []}'), "is JSON that is refused"),
    "200,000 levels": whole(answer(DEEP), "nested too deeply"),
    "5,000 digits": whole(answer(HUGE_INT), "is JSON that is refused"),
    "9 MiB": whole(answer(b" " * (9 << 20)), "larger than 8 MiB"),
    "9 MiB of chunks": streamed(
        HEAD, *[chunk(b":" * 65535 + b"\n")] * 144, error="larger than 8 MiB"
    ),
    "a bomb": whole(
        answer(BOMB, headers={"Content-Encoding": "gzip"}), "the reply is encoded (gzip)"
    ),
    "a page": whole(answer(b"<html>", media_type="text/html"), "the reply is text/html, not JSON"),
    "nothing": whole(answer(b""), "the reply is not JSON"),
    "a list": whole(answer([]), "no choices[0].message"),
    "no choices": whole(answer({"choices": []}), "no choices[0].message"),
    "no finish reason": whole(answer(reply_with(finish_reason=None)), "no finish reason"),
    "another finish reason": whole(
        answer(reply_with(finish_reason="tool_calls")), "finish reason 'tool_calls'"
    ),
    "an error of status 200": whole(answer({"error": {"message": "oh"}}), "reports: oh"),
    "a head that is too long": fails("no answer", [b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000]),
    "no HTTP": fails("no answer", [b"SSH-2.0-OpenSSH_9.6\r\n"]),
    # /generate.
    "NUL chunks": generated(NUL_HEAD, nul("C: "), nul("Cough"), END),
    "NUL chunks, cut anywhere": generated(
        NUL_HEAD, *map(chunk, (b'{"te', b'xt": ["C: Cough"]', b"}\0")), END
    ),
    "no NUL behind the last": generated(
        NUL_HEAD, nul("C: "), chunk(b'{"text": ["Cough"]}'), END, error="without its NUL"
    ),
    "NUL chunks, cut": generated(
        NUL_HEAD, nul("C: "), chunk(b'{"text": ["Cou'), END, error="is not JSON"
    ),
    "an error in a chunk": generated(
        NUL_HEAD, nul("C: "), chunk(b'{"error": "x", "error_type": "Incomplete Generation"}\0'),
        END, error="Incomplete Generation: x",
    ),
    "no chunk": generated(NUL_HEAD, END, error="without any chunk"),
    "cut between chunks without framing": fails(
        NO_END, [OPEN_HEAD + b'{"text": ["C: "]}\0'], backend="generate", settings=STREAMED
    ),
    "cut in a chunk without framing": fails(
        NO_END, [OPEN_HEAD + b'{"text": ["C: "]}\0{"te'], backend="generate", settings=STREAMED
    ),
    "cut before any chunk without framing": fails(
        NO_END, [OPEN_HEAD], backend="generate", settings=STREAMED
    ),
    "no end without framing": fails(
        NO_END, [OPEN_HEAD + b'{"text": ["C: "]}\0', HOLD], backend="generate", settings=STREAMED
    ),
    "NUL chunks of a length": generated(
        b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n" + b'{"text": ["C: Cough"]}\0'
    ),
    "NUL chunks cut in their length": fails(
        "the reply was cut",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b'{"text": ["C: "]}\0'],
        backend="generate", settings=STREAMED,
    ),
    "a body without framing": Case(
        [[OPEN_JSON + b'{"text": ["C: Cough"]}']], backend="generate"
    ),
    "a body without framing, cut": fails(
        "is not JSON", [OPEN_JSON + b'{"text": ["C: '], backend="generate"
    ),
    "an error without framing where a stream was asked for": fails(
        "reports: busy", [OPEN_JSON + b'{"error": "busy"}'], backend="generate", settings=STREAMED
    ),
    "the prompt and the reply": generated(
        answer({"text": [f"{QUESTION} C: Cough"]}), stream=False
    ),
    "no text": generated(answer({"texts": []}), stream=False, error="no text[0]"),
}  # fmt: skip


def test_there_are_enough_scripts() -> None:
    assert len(CASES) >= 30


@pytest.mark.parametrize("name", CASES)
def test_the_outcome_is_the_stated_one_in_time(name: str) -> None:
    case = CASES[name]
    settings = {"timeout_s": DEADLINE_S, **case.settings}
    with RawServer(case.scripts) as server:
        backend = service_backend(server.url, case.backend, **settings)
        start_s = time.monotonic()
        try:
            if case.raises:
                with pytest.raises(case.raises) as caught:
                    backend.generate([ask()])
                said = str(caught.value)
            else:
                [response] = backend.generate([ask()])
                said = response.error
            elapsed_s = time.monotonic() - start_s
        finally:
            backend.close()
    assert case.error in said
    if not case.error:
        assert (said, response.text) == ("", case.text)
    assert elapsed_s <= settings["timeout_s"] + 1.0
    assert len(server.posts) == case.num_asked


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_redirect_is_never_followed(status: str) -> None:
    with RawServer() as trap:
        where = {"Location": f"{trap.url}/trap"}
        with RawServer([[answer(b"", f"{status} Elsewhere", headers=where), KEEP]]) as server:
            backend = service_backend(server.url)
            [response] = backend.generate([ask()])
            backend.close()
        assert "is not followed" in response.error
        assert trap.received == []


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    """Two replies without a word of closing, and the connection is gone after each."""
    with RawServer([[answer(REPLY)]]) as server:
        backend = service_backend(server.url, retries=1)
        texts = [backend.generate([ask()])[0].text for _ in range(3)]
        backend.close()
    assert texts == ["C: Cough"] * 3


def test_a_service_that_is_gone_ends_the_run() -> None:
    with RawServer([GOOD]) as server:
        backend = service_backend(server.url, retries=1)
        backend.load()
        assert backend.generate([ask()])[0].text == "C: Cough"
        server.stop()
        start_s = time.monotonic()
        with pytest.raises(DeviceError, match="does not answer any more"):
            backend.generate([ask("s1"), ask("s2")])
        backend.close()
    assert time.monotonic() - start_s <= 2 * DEADLINE_S + 1


def test_a_failure_of_some_does_not_end_the_run() -> None:
    with RawServer([GOOD, [HOLD]]) as server:
        backend = service_backend(server.url)
        responses = backend.generate([ask("s1"), ask("s2")])
        backend.close()
    assert sorted(response.error for response in responses) == ["", NOT_WHOLE]


def test_a_batch_is_not_slower_than_its_slowest() -> None:
    """16 requests that are all dripped to take no longer than one of them."""
    with RawServer([drip(answer(REPLY))]) as server:
        backend = service_backend(server.url, timeout_s=DEADLINE_S)
        start_s = time.monotonic()
        responses = backend.generate([ask(f"s{number}") for number in range(16)])
        elapsed_s = time.monotonic() - start_s
        backend.close()
    assert {response.error for response in responses} == {NOT_WHOLE}
    assert elapsed_s <= DEADLINE_S + 1
