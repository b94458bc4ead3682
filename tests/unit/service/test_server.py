"""The server on loopback: both routes, the limits, the key, leaving clients, stopping."""

import base64
import hashlib
import json
import socket
import time

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from modeltest.errors import UsageError
from modeltest.service import body as body_module
from modeltest.service.guard import Guard
from modeltest.service.media import Allowance
from modeltest.service.openai_messages import ChatForm
from modeltest.service.server import listening_socket

TEXT = "What is it?"


def digest(clip):
    return hashlib.sha256(clip).hexdigest()[:12]


def events(body):
    """The events of a stream, `[DONE]` checked and left out."""
    lines = body.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_a_chat(shared, parts, wav):
    reply = shared.chat(parts(TEXT), model="echo")
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"] == f"{digest(wav())} {TEXT}"
    assert reply.json["model"] == "echo"
    assert reply.json["usage"] == {
        "prompt_tokens": 28, "completion_tokens": 4, "total_tokens": 32,
    }  # fmt: skip


def test_a_streamed_chat(shared, parts, wav):
    reply = shared.chat(parts(TEXT), stream=True, stream_options={"include_usage": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    first, *pieces, last, counts = events(reply.body)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [piece["choices"][0]["delta"]["content"] for piece in pieces]
    assert texts == [digest(wav()), " What", " is", " it?"]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert counts["choices"] == []
    assert counts["usage"]["total_tokens"] == 32
    assert len({event["id"] for event in (first, *pieces, last, counts)}) == 1
    assert {event["object"] for event in (first, *pieces, last)} == {"chat.completion.chunk"}


def test_a_stream_without_counts(shared, parts):
    assert "usage" not in events(shared.chat(parts(TEXT), stream=True).body)[-1]


def test_generate(shared, parts, wav):
    reply = shared.generate(parts(TEXT))
    assert (reply.status, reply.json) == (200, {"text": [f"{TEXT} {digest(wav())} {TEXT}"]})


def test_streamed_generate(shared, parts, wav):
    body = shared.generate(parts(TEXT), stream=True).body
    assert body.endswith(b"\0")
    pieces = [json.loads(chunk) for chunk in body.split(b"\0")[:-1]]
    assert pieces == [{"text": [text]} for text in (digest(wav()), " What", " is", " it?")]


def test_an_empty_reply_is_a_piece(backend, serve, parts):
    backend.reply = lambda request: ""
    running = serve()
    assert running.generate(parts(TEXT), stream=True).body == b'{"text": [""]}\0'
    *_, last = events(running.chat(parts(TEXT), stream=True).body)
    assert last["choices"][0]["finish_reason"] == "stop"


def test_tgis_form(shared, parts, wav):
    reply = shared.ask("POST", "/generate", {"inputs": parts(TEXT)})
    assert reply.json == {"generated_text": f"{digest(wav())} {TEXT}"}


def test_a_dialogue_with_clips_in_two_turns(shared, parts, wav):
    messages = [
        {"role": "user", "content": parts("first", 1)},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": parts("second", 2)},
    ]
    reply = shared.ask("POST", "/v1/chat/completions", {"messages": messages})
    said = reply.json["choices"][0]["message"]["content"]
    assert said == f"{digest(wav(1))} {digest(wav(2))} 1:first>one second"


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "application/json", ""]
)
def test_a_body_is_json_whatever_its_type_says(shared, parts, content_type):
    body = json.dumps({"prompt": parts(TEXT)}).encode()
    assert shared.ask("POST", "/generate", body, **{"Content-Type": content_type}).status == 200


def test_a_reply_that_was_cut(shared, parts):
    assert shared.chat(parts(TEXT), max_tokens=1).json["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("of_clip", "words"),
    [
        ({"num_samples": 33_000}, "clip 1: is 2.1 s long; this model hears 2 s at most"),
        ({"num_samples": 0}, "clip 1:"),
    ],
)
def test_clips_that_the_model_cannot_hear(shared, parts, of_clip, words):
    reply = shared.generate(parts(TEXT, **of_clip))
    assert reply.status == 400
    assert words in reply.json["error"]


def test_a_damaged_clip(shared, wav):
    data = base64.b64encode(wav()[:-100]).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    reply = shared.chat([part])
    assert reply.status == 400
    assert reply.json["error"]["message"].startswith("clip 1: ")


def test_another_models_name(shared, parts):
    reply = shared.chat(parts(TEXT), model="other\n")
    assert reply.status == 404
    assert reply.json["error"]["type"] == "NotFoundError"
    assert reply.json["error"]["message"] == (
        r"the model other\n is not here; this server has echo"
    )
    reply = shared.generate(parts(TEXT), model="other")
    assert (reply.status, reply.json["error_type"]) == (404, "NotFoundError")


def test_a_request_that_fails(shared, parts):
    reply = shared.chat(parts("broken"))
    assert (reply.status, reply.json["error"]["type"]) == (500, "InternalServerError")
    reply = shared.generate(parts("broken"))
    assert (reply.status, reply.json["error_type"]) == (424, "Generation Error")
    assert shared.chat(parts("broken"), stream=True).status == 500  # nothing was streamed yet


def test_a_stream_that_breaks_off_has_no_finish_reason(backend, serve, parts):
    def generate(requests, prepared=None, on_text=None):
        on_text(0, "beginning")
        raise RuntimeError("no more")

    backend.generate = generate
    running = serve()
    *_, piece, error = events(running.chat(parts(TEXT), stream=True).body)
    assert piece["choices"][0] == {
        "index": 0, "delta": {"content": "beginning"}, "finish_reason": None,
    }  # fmt: skip
    assert error["error"]["message"] == "the model gave no answer: RuntimeError: no more"
    chunks = running.generate(parts(TEXT), stream=True).body.split(b"\0")
    assert json.loads(chunks[1])["error_type"] == "Generation Error"


def test_a_bug_is_no_secret_and_tells_none(serve, parts, monkeypatch, caplog):
    running = serve()
    monkeypatch.setattr(running.service, "check_model", lambda question: 1 / 0)
    reply = running.chat(parts(TEXT))
    assert reply.status == 500
    assert reply.json["error"]["message"] == "a bug in modeltest"
    running.until(lambda: "ZeroDivisionError" in caplog.text)
    assert running.service._admission.num_requests == 0


def test_facts(shared):
    assert (shared.ask("GET", "/health").status, shared.ask("GET", "/health").body) == (200, b"")
    models = shared.ask("GET", "/v1/models").json
    assert [model["id"] for model in models["data"]] == ["echo"]
    assert shared.ask("GET", "/version").json == {"version": "0"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/generate", 405), ("POST", "/health", 405), ("GET", "/docs", 404)],
)
def test_routes_that_are_none(shared, method, path, status):
    reply = shared.ask(method, path)
    assert reply.status == status
    assert reply.json["error"]["code"] == status


def test_metrics(serve, parts):
    running = serve()
    running.chat(parts(TEXT))
    running.generate("text only")
    text = running.ask("GET", "/metrics").body.decode()
    for line in (
        'modeltest_requests_total{route="/v1/chat/completions",status="200"} 1.0',
        'modeltest_requests_total{route="/generate",status="422"} 1.0',
        "modeltest_batch_size_count 1.0",
        "modeltest_input_tokens_total 28.0",
        "modeltest_output_tokens_total 4.0",
        "modeltest_audio_seconds_total 0.1",
        "modeltest_requests_under_way 0.0",
    ):
        assert f"\n{line}\n" in text
    assert "process_resident_memory_bytes" in text


def test_requests_of_the_same_moment_share_a_batch(backend, serve, parts):
    running = serve(wait_s=1.0, batch_size=3)
    waits = [running.later(lambda i=i: running.chat(parts(f"q{i}", i))) for i in range(3)]
    said = [wait().json["choices"][0]["message"]["content"] for wait in waits]
    assert [len(batch) for batch in backend.batches] == [3]
    assert [text.split()[1] for text in said] == ["q0", "q1", "q2"]


def test_a_key(serve, parts):
    running = serve(key="s3cret")
    assert running.chat(parts(TEXT)).status == 200
    for wrong in ("Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "Bearer", "", "é"):
        on_the_wire = wrong.encode().decode("latin-1")
        for path in ("/v1/chat/completions", "/generate"):
            reply = running.ask("POST", path, {}, Authorization=on_the_wire)
            assert reply.status == 401
            assert b"s3cret" not in reply.body
        assert running.ask("GET", "/metrics", Authorization=on_the_wire).status == 401
        assert running.ask("GET", "/health", Authorization="").status == 200
    assert running.ask("GET", "/openapi.json", Authorization="bearer s3cret").status == 200
    reply = running.ask("POST", "/generate", {}, Authorization="")
    assert reply.json["error_type"] == "Unauthorized"
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST:1", 200), ("127.0.0.1:1025", 200), ("[::1]:80", 200),
     ("[::1]", 200), ("127.9.8.7:1025", 200), ("128.0.0.1", 400),
     ("evil.example", 400), ("localhost.evil.example:1025", 400), ("[::2]:1", 400)],
)  # fmt: skip
def test_on_loopback_only_its_own_names_are_answered(shared, host, status):
    assert shared.ask("GET", "/version", Host=host).status == status


def test_another_loopback_address_is_answered_under_its_own_name(serve):
    running = serve(host="127.0.0.2")
    assert running.ask("GET", "/health").status == 200
    assert running.ask("GET", "/version", Host=f"127.0.0.2:{running.port}").status == 200
    assert running.ask("GET", "/version", Host="evil.example").status == 400


def test_the_name_that_was_listened_on_is_answered(backend, device):
    async def app(scope, receive, send):
        await PlainTextResponse("fine")(scope, receive, send)

    guard = Guard(app, None, True, "My-Laptop", {"": ChatForm()})
    assert TestClient(guard, "http://my-laptop:1025").get("/").text == "fine"
    assert TestClient(guard, "http://my-laptop.evil.example").get("/").status_code == 400


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 200), ("http://localhost:3000", 200), ("http://127.0.0.1", 200),
     ("https://[::1]:8443", 200), ("http://evil.example", 403), ("http://evil.example:1025", 403),
     ("https://localhost.evil.example", 403), ("http://127.0.0.1.evil.example", 403),
     ("null", 403), ("", 403), ("localhost", 403), ("file://", 403)],
)  # fmt: skip
@pytest.mark.parametrize("is_loopback", [True, False])
def test_a_page_of_another_host_cannot_make_the_server_work(
    backend, serve, parts, origin, status, is_loopback
):
    """What a browser sends without asking first: a POST of plain text."""
    running = serve(is_loopback=is_loopback)
    headers = {"Content-Type": "text/plain"} | ({} if origin is None else {"Origin": origin})
    body = json.dumps({"prompt": parts(TEXT)}).encode()
    reply = running.ask("POST", "/generate", body, **headers)
    assert reply.status == status
    assert len(backend.batches) == (status == 200)
    if status == 403:
        assert reply.json["error_type"] == "Forbidden"


def test_the_own_pages_of_a_host_beyond_this_one(serve):
    running = serve(is_loopback=False)
    host = {"Host": "models.example:1025"}
    assert running.ask("GET", "/version", Origin="http://models.example:1025", **host).status == 200
    assert running.ask("GET", "/version", Origin="http://evil.example:1025", **host).status == 403


def test_more_than_the_queue_holds(backend, serve, parts):
    running = serve(max_requests=2, batch_size=1)
    backend.gate.clear()
    waits = [running.later(lambda: running.chat(parts(TEXT))) for _ in range(2)]
    running.until(lambda: running.service.num_accepted == 2)
    for reply in (running.chat(parts(TEXT)), running.generate(parts(TEXT))):
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
    backend.gate.set()
    assert [wait().status for wait in waits] == [200, 200]
    assert running.chat(parts(TEXT)).status == 200


def send_and_leave(running, body):
    connection = running.connect()
    connection.request("POST", "/v1/chat/completions", json.dumps(body).encode())
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_is_taken_out_of_the_queue(backend, serve, parts, stream):
    running = serve(batch_size=1)
    backend.gate.clear()
    first = running.later(lambda: running.chat(parts("first")))
    running.until(lambda: backend.batches)
    message = {"role": "user", "content": parts("left")}
    leaving = send_and_leave(running, {"messages": [message], "stream": stream})
    running.until(lambda: running.batcher.num_waiting == 1)
    leaving.sock.shutdown(socket.SHUT_RDWR)
    leaving.close()
    running.until(lambda: running.batcher.num_waiting == 0)
    backend.gate.set()
    assert first().status == 200
    assert running.chat(parts("last")).status == 200
    assert backend.batches == [["first"], ["last"]]
    assert running.service.num_left == 1
    assert b"\nmodeltest_requests_under_way 0.0\n" in running.ask("GET", "/metrics").body


def test_a_client_that_leaves_in_mid_stream(backend, serve, parts):
    def generate(requests, prepared=None, on_text=None):
        if on_text:
            on_text(0, "beginning")
        return whole(requests)  # waits for the gate

    whole, backend.generate = backend.generate, generate
    running = serve()
    backend.gate.clear()
    message = {"role": "user", "content": parts(TEXT)}
    leaving = send_and_leave(running, {"messages": [message], "stream": True})
    assert leaving.sock.recv(100)
    leaving.sock.shutdown(socket.SHUT_RDWR)
    leaving.close()
    running.until(lambda: running.service.num_left == 1)
    backend.gate.set()
    assert running.generate(parts(TEXT)).status == 200


def test_a_body_that_is_too_large(serve, monkeypatch):
    monkeypatch.setattr(body_module, "MAX_BODY_BYTES", 1 << 20)
    running = serve()
    reply = running.ask("POST", "/generate", b"x" * ((1 << 20) + 1))
    assert reply.status == 413
    assert reply.headers["connection"] == "close"
    large = b'{"prompt": "' + b"x" * (1 << 20)
    assert running.ask("POST", "/generate", large[: 1 << 20]).status == 422
    # A client that asks first need not send anything.
    with socket.create_connection(("127.0.0.1", running.port), 5) as sock:
        sock.sendall(
            b"POST /generate HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: 99999999\r\n\r\n"
        )
        assert b" 413 " in sock.recv(100)
    chunked = b"%x\r\n%s\r\n" % (1 << 19, b"x" * (1 << 19))
    with socket.create_connection(("127.0.0.1", running.port), 5) as sock:
        sock.sendall(
            b"POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sock.sendall(chunked * 3 + b"0\r\n\r\n")
        assert b" 413 " in sock.recv(100)


def test_a_body_that_never_ends(serve, monkeypatch):
    monkeypatch.setattr(body_module, "BODY_TIMEOUT_S", 0.2)
    running = serve()
    with socket.create_connection(("127.0.0.1", running.port), 5) as sock:
        sock.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        assert b" 408 " in sock.recv(100)
    assert running.service.num_accepted == 1


def test_memory_that_is_all_in_use(serve, parts, wav):
    running = serve()
    running.service._admission._max_bytes = 3000
    reply = running.generate(parts(TEXT, num_samples=16_000))
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert running.service._admission.num_bytes == 0


def test_a_file_below_an_allowed_folder(serve, tmp_path, wav):
    (tmp_path / "a.wav").write_bytes(wav(5))
    running = serve(allowance=Allowance((str(tmp_path),)))
    part = {"type": "audio_url", "audio_url": str(tmp_path / "a.wav")}
    reply = running.generate([part, {"type": "text", "text": TEXT}])
    assert reply.json == {"text": [f"{TEXT} {digest(wav(5))} {TEXT}"]}
    missing = {"type": "audio_url", "audio_url": f"file://{tmp_path}/none.wav"}
    reply = running.generate([missing])
    assert reply.status == 400
    assert reply.json["error"] == "clip 1 (none.wav): does not exist"


def test_stopping_finishes_what_was_accepted_and_takes_nothing_new(backend, serve, parts):
    running = serve(batch_size=1)
    backend.gate.clear()
    waits = [running.later(lambda: running.chat(parts(TEXT))) for _ in range(3)]
    idle = running.connect()
    idle.connect()
    running.until(lambda: running.service.num_accepted == 3)
    running.server.stop()
    running.until(lambda: running.service.is_stopping)
    with pytest.raises(OSError, match="refused"):
        running.ask("GET", "/health")
    backend.gate.set()
    assert [wait().status for wait in waits] == [200, 200, 200]
    running.thread.join(10)
    assert not running.thread.is_alive()


def test_what_does_not_finish_in_time_gets_an_error(backend, serve, parts):
    running = serve(batch_size=1, drain_s=0.5)
    backend.gate.clear()
    waits = [
        running.later(lambda: running.chat(parts(TEXT))),
        running.later(lambda: running.generate(parts(TEXT))),
        running.later(lambda: running.chat(parts(TEXT), stream=True)),
    ]
    running.until(lambda: running.service.num_accepted == 3)
    with socket.create_connection(("127.0.0.1", running.port), 5) as sock:
        sock.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        running.until(lambda: running.service.num_accepted == 4)
        start_s = time.monotonic()
        running.server.stop()
        replies = [wait() for wait in waits]
        assert time.monotonic() - start_s < 2
        assert [reply.status for reply in replies] == [503] * 3
        assert b"had to stop before the reply was there" in replies[0].body
        assert replies[1].json["error_type"] == "Service Unavailable"
        assert b" 503 " in sock.recv(100)


def test_a_lost_device_ends_the_server_when_all_were_told(backend, device, serve, parts):
    running = serve(batch_size=1)
    backend.gate.clear()
    waits = [running.later(lambda: running.chat(parts("broken"))) for _ in range(2)]
    running.until(lambda: running.batcher.num_waiting == 1)
    device.alive = False
    health = running.connect()  # opened before the server stops to take new ones
    health.connect()
    backend.gate.set()
    replies = [wait() for wait in waits]
    assert [reply.status for reply in replies] == [500, 500]
    assert "cpu does not answer any more" in replies[0].json["error"]["message"]
    running.thread.join(10)
    assert not running.thread.is_alive()
    assert running.batcher.failure is not None


def test_health_of_a_lost_device(backend, device, serve, parts, monkeypatch):
    running = serve()
    monkeypatch.setattr(running.batcher, "_on_failure", lambda: None)
    device.alive = False
    assert running.chat(parts("broken")).status == 500
    reply = running.ask("GET", "/health")
    assert (reply.status, reply.json) == (500, {"message": "the model does not answer any more"})
    assert running.chat(parts(TEXT)).status == 500


def test_the_schema_tells_both_bodies(shared):
    schema = shared.ask("GET", "/openapi.json").json
    for path, name in (("/v1/chat/completions", "ChatRequest"), ("/generate", "GenerateRequest")):
        body = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert body["schema"] == {"$ref": f"#/components/schemas/{name}"}
        assert "model" in schema["components"]["schemas"][name]["properties"]
    assert set(schema["paths"]) == {
        "/v1/chat/completions", "/generate", "/health", "/v1/models", "/version", "/metrics",
    }  # fmt: skip


def test_a_port_that_is_taken_is_one_line():
    with listening_socket("127.0.0.1", 0) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: Address already in use; choose"):
            listening_socket("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.0.0.1", "\n", "a" * 70])
def test_a_host_that_is_none_is_one_line(host):
    with pytest.raises(UsageError, match="--host"):
        listening_socket(host, 0)
