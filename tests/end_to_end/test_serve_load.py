"""`modeltest serve` as users start it: under load, stopped in mid-load, asked by curl."""

import base64
import hashlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import wave
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.end_to_end

NUM_CLIENTS, NUM_REQUESTS = 16, 500
LETTERS = "ABCDEF"


@dataclass
class Server:
    """A server in a child process."""

    process: subprocess.Popen
    port: int
    first_line: str
    lines: list[str] = field(default_factory=list)

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        self.lines += self.process.stderr.read().splitlines()
        return self.process.wait(60)


@pytest.fixture
def serve(start, tmp_path):
    def started(model, *arguments):
        process = start(tmp_path, "serve", model, "--device", "cpu", "--port", "0", *arguments)
        line = process.stderr.readline()
        found = re.search(r"on http://127\.0\.0\.1:(\d+) ", line)
        assert found, line + process.stderr.read()
        return Server(process, int(found[1]), line)

    return started


def clip(seed: int) -> bytes:
    """A WAV that no other seed has."""
    sound = np.random.default_rng(seed).integers(-3000, 3000, 200, dtype="<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    return buffer.getvalue()


def letter(data: bytes) -> str:
    """The null model's answer, by its documented rule: the clip's hash modulo the letters."""
    return LETTERS[int(hashlib.sha256(data).hexdigest(), 16) % len(LETTERS)]


def ask(connection: http.client.HTTPConnection, number: int) -> tuple[int, str, bytes]:
    """Asks about clip `number` by one of four ways in turn: status, answer, body."""
    data = clip(number)
    url = f"data:audio/x-wav;base64,{base64.b64encode(data).decode()}"
    parts = [{"type": "audio_url", "audio_url": url}, {"type": "text", "text": "?"}]
    is_chat, stream = number % 2 == 0, number % 4 > 1
    path = "/v1/chat/completions" if is_chat else "/generate"
    messages = [{"role": "user", "content": parts}]
    asked = {"messages": messages} if is_chat else {"prompt": parts}
    connection.request("POST", path, json.dumps({**asked, "stream": stream}).encode())
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        return response.status, "", body
    if stream:
        pattern = rb'"content": "([A-F])"' if is_chat else rb'"text": \["([A-F])"\]'
        return 200, b"".join(re.findall(pattern, body)).decode(), body
    found = json.loads(body)
    text = found["choices"][0]["message"]["content"] if is_chat else found["text"][0]
    return 200, text.removeprefix("? "), body


def test_sixteen_clients_lose_and_mix_up_nothing_in_flat_memory(serve):
    server = serve("null")
    warm = threading.Barrier(NUM_CLIENTS + 1)
    measured = threading.Barrier(NUM_CLIENTS + 1)
    wrong: list[object] = []
    num_right = Counter()

    def client(index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for place in range(NUM_REQUESTS):
            if place == NUM_REQUESTS // 5:
                warm.wait(120)
                measured.wait(120)
            number = index * NUM_REQUESTS + place
            status, answer, body = ask(connection, number)
            if (status, answer) == (200, letter(clip(number))):
                num_right[index] += 1
            else:
                wrong.append((number, status, body))
        connection.close()

    threads = [threading.Thread(target=client, args=(index,)) for index in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    warm.wait(120)
    before_mib = server.resident_mib()
    measured.wait(120)
    for thread in threads:
        thread.join(240)
    grown_mib = server.resident_mib() - before_mib
    assert wrong[:3] == []
    assert num_right == dict.fromkeys(range(NUM_CLIENTS), NUM_REQUESTS)
    assert grown_mib < 8
    assert server.stop() == 143
    total = NUM_CLIENTS * NUM_REQUESTS
    assert server.lines[0] == (
        f"modeltest: stopped; requests: {total} accepted, {total} answered, 0 refused or failed, "
        "0 left by their client"
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_in_mid_load_no_accepted_request_goes_without_a_reply(serve, number, code):
    server = serve("null", "--batch-wait-ms", "50", "--bs", "32")
    outcomes: Counter[object] = Counter()
    stopping = threading.Event()

    def client(index: int) -> None:
        for place in range(100_000):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            asked = index * 100_000 + place
            try:
                status, answer, _ = ask(connection, asked)
            except (ConnectionError, http.client.HTTPException):
                outcomes["not accepted"] += 1
                return
            finally:
                connection.close()
            outcomes[status if status != 200 or answer == letter(clip(asked)) else "wrong"] += 1
            if stopping.is_set() and status != 200:
                return

    threads = [threading.Thread(target=client, args=(index,)) for index in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    stopping.set()
    assert server.stop(number) == code
    for thread in threads:
        thread.join(60)
    accepted, answered, errors, left = map(int, re.findall(r"\d+", server.lines[0]))
    assert accepted == answered > NUM_CLIENTS
    assert (errors, left) == (0, 0)
    assert outcomes[200] == answered
    assert set(outcomes) <= {200, 503, "not accepted"}
    assert server.lines[-1] == f"modeltest: ended by {signal.Signals(number).name}"


def test_a_second_signal_ends_it_at_once(serve):
    server = serve("null", "--batch-wait-ms", "60000")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    asking = threading.Thread(target=pytest.raises, args=(Exception, ask, connection, 0))
    asking.start()
    time.sleep(0.5)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    start_s = time.monotonic()
    assert server.stop() == 143
    assert time.monotonic() - start_s < 2
    assert server.lines == ["modeltest: ended by SIGTERM at once"]
    asking.join(10)


ENDLESS = """\
import time
from modeltest.backends.null import NullBackend
from modeltest.cli.main import console
from modeltest.service import limits
limits.DRAIN_S = 1.0
NullBackend.generate = lambda *_: time.sleep(60)
console()
"""


def test_a_batch_that_does_not_end_gets_an_error_and_the_exit_code_holds(checkout, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, "serve", "null", "--device", "cpu", "--port", "0"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    port = int(re.search(r":(\d+) \(", process.stderr.readline())[1])
    statuses = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        statuses.append(ask(connection, 0)[0])

    asking = threading.Thread(target=client)
    asking.start()
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    start_s = time.monotonic()
    assert process.stderr.read().splitlines() == [
        "modeltest: stopped; requests: 1 accepted, 0 answered, 1 refused or failed, "
        "0 left by their client",
        "modeltest: ended by SIGTERM at once",
    ]
    assert process.wait(30) == 143
    assert time.monotonic() - start_s < 8
    asking.join(10)
    assert statuses == [503]


def test_a_key_is_asked_for_and_never_shown(serve, monkeypatch):
    monkeypatch.setenv("SERVE_KEY", "canary-5f3a")
    server = serve("null", "--api-key-env", "SERVE_KEY")
    for key, status in (("canary-5f3a", 200), ("canary-5f3b", 401)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        assert response.status == status
        assert b"canary" not in response.read()
        connection.close()
    assert server.stop() == 143
    assert "canary" not in "".join([server.first_line, *server.lines])


@pytest.mark.parametrize(("keys", "warned"), [([], True), (["--api-key-env", "SERVE_KEY"], False)])
def test_an_address_that_others_reach_is_warned_of_without_a_key(start, tmp_path, monkeypatch, keys,
                                                                 warned):  # fmt: skip
    monkeypatch.setenv("SERVE_KEY", "some key")
    process = start(
        tmp_path, "serve", "null", "--device", "cpu", "--port", "0", "--host", "0.0.0.0", *keys
    )
    assert "serving null on http://0.0.0.0:" in process.stderr.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read()
    assert ("whoever reaches this address can use the model; see --api-key-env" in said) == warned
    assert process.wait(30) == 143


# From the README of MindIE's Qwen2-Audio: only the port and the path are filled in.
CURL_OPENAI = """curl http://localhost:${PORT}/v1/chat/completions -d '{
      "model": "qwen2_audio",
      "messages": [{
          "role": "user",
          "content": [
                      {"type": "audio_url", "audio_url": ${AUDIO}},
                      {"type": "text", "text": "What did the speaker say in the audio?"}
                  ]
      }],
      "max_tokens": 512,
      "stream": false
  }'"""
CURL_VLLM = """curl localhost:${PORT}/generate -d '{
      "prompt": [
          {"type": "audio_url", "audio_url": ${AUDIO}},
          {"type": "text", "text": "What did the speaker say in the audio?"}
      ],
      "max_tokens": 512,
      "do_sample": false,
      "stream": false,
      "model": "qwen2_audio"
  }'"""


def test_mindies_two_curl_commands_word_for_word(serve, mini_clips, tmp_path):
    (tmp_path / "model").mkdir()
    settings = tmp_path / "model" / "qwen2_audio.yaml"
    settings.write_text("extends: qwen2_audio_tiny\n", encoding="utf-8")
    folder = mini_clips[0].parent
    server = serve("qwen2_audio", "--config-dir", str(tmp_path), "--allow-media", str(folder))
    replies = []
    for command in (CURL_OPENAI, CURL_VLLM):
        filled = command.replace("${PORT}", str(server.port))
        filled = filled.replace("${AUDIO}", json.dumps(str(mini_clips[0])))
        done = subprocess.run(
            ["bash", "-c", filled], capture_output=True, text=True, check=True, timeout=60
        )
        replies.append(json.loads(done.stdout))
    openai, vllm = replies
    [choice] = openai["choices"]
    assert choice["finish_reason"] == "stop"
    assert openai["model"] == "qwen2_audio"
    assert openai["usage"]["completion_tokens"] > 1
    assert len(choice["message"]["content"]) > 1
    echo = "What did the speaker say in the audio?"
    assert vllm == {"text": [f"{echo} {choice['message']['content']}"]}
    assert server.stop() == 143
