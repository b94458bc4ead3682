"""Evaluations of exchanges that were recorded with a real vLLM server.

`python tests/gates/vllm_server.py --record tests/golden/vllm.json` records them anew. A request
that differs in one byte from the recorded one is answered by 404, so what vLLM accepted is what is
sent today; the replies are held against those of a plain transformers loop (`replies.json`).
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas
import pytest

NUM_SAMPLES = 12


@pytest.fixture(scope="module")
def recording(project):
    return json.loads((project / "tests" / "golden" / "vllm.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def golden(project):
    replies = json.loads((project / "tests" / "golden" / "replies.json").read_text("utf-8"))
    return replies["chat"]


@pytest.fixture
def service(recording):
    known = {(e["method"], e["path"], e["body_sha256"]): e for e in recording}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer()

        def do_POST(self):
            self.answer()

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            key = self.command, self.path, hashlib.sha256(body).hexdigest()
            found = known.get(key, {"status": 404, "content_type": "text/plain", "content": ""})
            asked.append((key, found["status"]))
            content = base64.b64decode(found["content"])
            self.send_response(found["status"])
            self.send_header("Content-Type", found["content_type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format, *args): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.asked = asked
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("stream", [False, True])
def test_recorded_replies_are_those_of_a_plain_loop(modeltest, service, golden, tmp_path, stream):
    done = modeltest(
        tmp_path, "eval", "vocalsound_mini", "vllm_service", "--limit", str(NUM_SAMPLES),
        "--set", f"model.base_url=http://127.0.0.1:{service.server_port}",
        "--set", f"model.request.stream={str(stream).lower()}",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.startswith("LIMITED"), done.out
    samples = pandas.read_csv(done.result_file("samples"))
    replies = dict(zip(samples["sample_id"], samples["output"], strict=True))
    assert len(replies) == NUM_SAMPLES
    assert replies == {name: golden[name] for name in replies}
    assert (samples["output_tokens"] > 1).all()
    assert (samples["input_tokens"] > 50).all()
    assert sum(method == "POST" for (method, _, _), _ in service.asked) >= NUM_SAMPLES
    assert {status for _, status in service.asked} == {200}, "a request that was not recorded"


def test_a_request_that_vllm_was_never_sent_is_noticed(modeltest, service, tmp_path):
    done = modeltest(
        tmp_path, "eval", "vocalsound_mini", "vllm_service", "--limit", "1", "--seed", "7",
        "--set", f"model.base_url=http://127.0.0.1:{service.server_port}",
        "--set", 'task.prompt="Another question: {choices}"',
    )  # fmt: skip
    assert done.code == 3, done.out
    assert "1 of 1 samples failed" in done.out
