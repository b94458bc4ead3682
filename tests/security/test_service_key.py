"""A service's API key appears in no file and on no screen, whatever the service does with it."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
from raw_http import DEFAULT_GETS, END, HOLD, KEEP, RawServer, answer, chunk, event, stream_head

KEY = "sk-canary/5d1e+77=b"
FORMS = [
    KEY, KEY.upper(), quote(KEY, safe=""), KEY.encode().hex(),
    *(base64.b64encode(b"x" * shift + KEY.encode()).decode()[4:-4] for shift in range(3)),
]  # fmt: skip
ECHO = {"error": {"message": f"you sent Authorization: Bearer {KEY}"}}
TOLD = {"choices": [{"message": {"content": f"C: Cough {KEY}"}, "finish_reason": "stop"}]}
SPLIT = [KEY[:5], KEY[5:9], KEY[9:]]
ENCODED = base64.b64encode(f"Bearer {KEY}".encode()).decode()
BASIC = {"error": f"header {ENCODED} for {quote(KEY, safe='')}"}
STREAM = b"".join(
    (stream_head(), *(event({"choices": [{"delta": {"content": part}}]}) for part in SPLIT))
)
FINISH = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
WITH_STREAM = {"request": {"stream": True}}


def get(path, *script):
    return {"gets": {**DEFAULT_GETS, path: script}}


def post(*script):
    return {"scripts": [script]}


# Per kind of failure what the server does, what is set, and the exit code.
FAILURES = {
    "none": ({"scripts": [(answer(TOLD), KEEP)]}, {}, 0),
    "400 that repeats it": (post(answer(ECHO, "400 Bad"), KEEP), {}, 3),
    "400 that encodes it": (post(answer(BASIC, "400 Bad"), KEEP), {}, 3),
    "401": (post(answer(ECHO, "401 No"), KEEP), {}, 2),
    "403 before the run": (get("/health", answer(ECHO, "403 No"), KEEP), {}, 2),
    "429": (post(answer(ECHO, "429 Busy"), KEEP), {"retries": 1}, 3),
    "500": (post(answer(ECHO, "500 No"), KEEP), {}, 3),
    "a status line": (post(answer(b"", f"503 Bearer {KEY}"), KEEP), {"retries": 1}, 3),
    "a redirect": (post(answer(b"", "302 X", headers={"Location": f"/{KEY}"}), KEEP), {}, 3),
    "an encoding": (post(answer(b"", headers={"Content-Encoding": KEY}), KEEP), {}, 3),
    "a media type": (post(answer(b"", media_type=KEY), KEEP), {}, 3),
    "no JSON": (post(answer(f"{KEY} {{oops".encode()), KEEP), {}, 3),
    "a finish reason": (
        post(answer({"choices": [{"message": {"content": "C"}, "finish_reason": KEY}]}), KEEP),
        {},
        3,
    ),
    "a key twice": (post(answer(f'{{"{KEY}": 1, "{KEY}": 2}}'.encode()), KEEP), {}, 3),
    "a broken head": (post(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()), {}, 3),
    "no HTTP": (post(f"{KEY}\r\n\r\n".encode()), {}, 3),
    "a stream in pieces": (post(STREAM + FINISH + event("[DONE]") + END, KEEP), WITH_STREAM, 0),
    "a stream that is cut": (post(STREAM), WITH_STREAM, 3),
    "an error in a stream": (post(STREAM + event(ECHO) + END, KEEP), WITH_STREAM, 3),
    "a chunk size": (post(stream_head() + f"{KEY}\r\n".encode()), WITH_STREAM, 3),
    "NUL chunks": (
        post(stream_head() + chunk(json.dumps({"text": [KEY]}).encode() + b"\0") + END, KEEP),
        {**WITH_STREAM, "backend": "generate", "service": "mindie"},
        0,
    ),
    "nothing": (post(HOLD), {}, 3),
    "an unhealthy service": (get("/health", answer(ECHO, "500 No"), KEEP), {}, 2),
    "other models": (get("/v1/models", answer({"data": [{"id": KEY}]}), KEEP), {}, 2),
    "a version and a server's name": (
        {
            "scripts": [(answer(TOLD), KEEP)],
            "gets": {
                **DEFAULT_GETS,
                "/version": (answer({"version": f"1 {KEY}"}), KEEP),
                "/v1/models": (
                    answer({"data": [{"id": "m"}, {"id": KEY}]}, headers={"Server": f"x {KEY}"}),
                    KEEP,
                ),
            },
        },
        {},
        0,
    ),
    "a wrong preset": ({}, {"request": {"form": "tgi"}}, 2),
    "a wrong file of certificates": ({}, {"verify": "nothing.pem"}, 2),
}


def write_settings(folder, url, **settings):
    values = {
        "backend": "openai", "service": "vllm", "model": "m", "base_url": url, "retries": 0,
        "timeout_s": 1.0, "api_key_env": "SERVED_KEY", **settings,
    }  # fmt: skip
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in values.items()]
    (folder / "served.yaml").write_text("".join(lines))


def refuse_traces(folder, *texts):
    """Fails where the key is, in any form."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for text in [*(path.read_text(errors="replace") for path in files), *texts]:
        assert not [form for form in FORMS if form in text]


def test_there_are_enough_failures():
    assert len(FAILURES) + len(("an interruption", "a crash", "a missing key")) >= 20


@pytest.mark.parametrize("failure", FAILURES)
def test_the_key_leaves_no_trace(here, tmp_path, monkeypatch, failure):
    behaviour, settings, code = FAILURES[failure]
    monkeypatch.setenv("SERVED_KEY", KEY)
    with RawServer(**behaviour) as server:
        write_settings(tmp_path, server.url, **settings)
        done = here("eval", "vocalsound_mini", "served.yaml", "--limit", "1")
    refuse_traces(tmp_path, done.out, done.err)
    assert done.code in ({code, 3} if code == 0 else {code}), done.err  # 3: local changes
    if behaviour.get("scripts"):
        assert server.posts[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_missing_key_is_named_and_nobody_is_asked(here, tmp_path, monkeypatch):
    monkeypatch.delenv("SERVED_KEY", raising=False)
    with RawServer() as server:
        write_settings(tmp_path, server.url)
        done = here("eval", "vocalsound_mini", "served.yaml", "--limit", "1")
    assert "the environment variable SERVED_KEY is not set" in done.one_line_error()
    assert server.received == []


@pytest.mark.parametrize("crash", [True, False], ids=["a crash", "an interruption"])
def test_the_key_leaves_no_trace_in_a_traceback(checkout, tmp_path, crash):
    script = (
        "import sys\n"
        "from modeltest.backends.service import backend\n"
        "from modeltest.cli.main import main\n"
        "def broken(*given):\n"
        "    raise RuntimeError('a bug')\n"
        f"if {crash}: backend.ServiceBackend.load = broken\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {**os.environ, "SERVED_KEY": KEY, "PYTHONPATH": str(checkout)}
    with RawServer([[HOLD]]) as server:
        write_settings(tmp_path, server.url, timeout_s=60.0)
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                script,
                "eval",
                "vocalsound_mini",
                "served.yaml",
                "--limit",
                "1",
            ],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while not crash and not server.posts:
            time.sleep(0.01)
        if not crash:
            child.send_signal(signal.SIGTERM)
        out = child.communicate(timeout=60)[0]
    assert child.returncode == (1 if crash else 143), out
    assert ("a bug" in out) == crash
    refuse_traces(tmp_path, out)
