"""A server on loopback in a thread, with a backend whose replies name what it was asked."""

import asyncio
import base64
import contextlib
import http.client
import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from modeltest.devices.cpu import CpuDevice
from modeltest.errors import SettingsError
from modeltest.records import Response
from modeltest.service.answering import Served, Service
from modeltest.service.app import make_app
from modeltest.service.batcher import Batcher, Batching
from modeltest.service.clips import ClipReader
from modeltest.service.limits import Admission
from modeltest.service.media import Allowance
from modeltest.service.metrics import ServiceMetrics
from modeltest.service.server import HttpServer, listening_socket


class OutOfMemory(RuntimeError):
    """What `FragileDevice` takes for it."""


class FragileDevice(CpuDevice):
    def __init__(self):
        self.alive = True

    def is_out_of_memory(self, error):
        return isinstance(error, OutOfMemory)

    def is_alive(self):
        return self.alive

    def free_memory(self):
        """Nothing is cached; collecting garbage takes longer than the test."""


class EchoBackend:
    """Replies with the clips' hashes and the question, word by word where it is streamed.

    A question with the word `broken` raises; `refused` cannot be rendered; above `capacity`
    requests it runs out of memory, behind the first word. While `gate` is closed nothing returns.
    """

    name = "echo"
    sampling_rate_hz = 16_000
    max_audio_s = 2.0

    def __init__(self):
        self.batches = []
        self.capacity = 64
        self.gate = threading.Event()
        self.gate.set()
        self.failure = RuntimeError("broken")

    def render(self, prompt, num_clips):
        if "refused" in prompt.text:
            raise SettingsError("this question cannot be asked")
        return prompt.text

    def num_input_tokens(self, request):
        return len(request.prompt.text.split()) + 25 * len(request.audio)

    def generate(self, requests, prepared=None, on_text=None):
        assert len({request.generation for request in requests}) == 1
        self.batches.append([request.prompt.text for request in requests])
        self.gate.wait(30)
        if any("broken" in request.prompt.text for request in requests):
            raise self.failure
        replies = [self.reply(request) for request in requests]
        for row, reply in enumerate(replies):
            words = reply.split(" ")
            for place, word in enumerate(words):
                if on_text:
                    on_text(row, word if place == 0 else f" {word}")
                if len(requests) > self.capacity:
                    raise OutOfMemory("too much")
        return [
            Response(
                sample_id=request.sample_id,
                text=reply,
                input_tokens=self.num_input_tokens(request),
                output_tokens=len(reply.split(" ")),
                finish_reason="length" if request.generation.max_new_tokens == 1 else "stop",
            )
            for request, reply in zip(requests, replies, strict=True)
        ]

    @staticmethod
    def reply(request):
        hashes = [clip.sha256[:12] for clip in request.audio]
        turns = [f"{turn.num_clips}:{turn.text}>{turn.reply}" for turn in request.prompt.turns]
        return " ".join([*hashes, *turns, request.prompt.text])


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A server, and what is behind it."""

    port: int
    backend: Any
    device: Any
    service: Any
    server: Any
    batcher: Any
    thread: Any
    key: str | None = None
    address: str = "127.0.0.1"
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=20)
        self.connections.append(connection)
        return connection

    def ask(self, method: str, path: str, content: Any = None, **headers: str) -> Reply:
        connection = self.connect()
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
        if self.key and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.key}"
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        reply = Reply(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return reply

    def chat(self, content: Any, **fields: Any) -> Reply:
        message = {"role": "user", "content": content}
        return self.ask("POST", "/v1/chat/completions", {"messages": [message], **fields})

    def generate(self, prompt: Any, **fields: Any) -> Reply:
        return self.ask("POST", "/generate", {"prompt": prompt, **fields})

    def later(self, ask: Callable[[], Reply]) -> Callable[[], Reply]:
        """Asks in a thread; the result is called for the reply."""
        found: list[Reply] = []
        thread = threading.Thread(target=lambda: found.append(ask()))
        thread.start()

        def wait() -> Reply:
            thread.join(20)
            return found[0]

        return wait

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 10
        while not is_so():
            assert time.monotonic() < deadline_s, "it never happens"
            time.sleep(0.005)


@contextlib.contextmanager
def serving(
    backend: Any,
    device: Any,
    *,
    batch_size: int = 4,
    wait_s: float = 0.005,
    max_requests: int = 64,
    max_input_tokens: int = 1000,
    key: str | None = None,
    allowance: Allowance = Allowance(),  # noqa: B008 - frozen
    drain_s: float = 5.0,
    host: str = "127.0.0.1",
    is_loopback: bool = True,
) -> Iterator[Running]:
    """Serves until the block ends."""
    ready = threading.Event()
    made: list[Running] = []

    async def serve() -> None:
        metrics = ServiceMetrics()
        batching = Batching(batch_size, wait_s, max_input_tokens)
        batcher = Batcher(backend, device, batching, metrics)
        bound = listening_socket(host, 0)
        with bound, ClipReader(allowance, 16_000, backend.max_audio_s) as clips:
            served = Served("echo", "0", 100, 0)
            service = Service(served, batcher, clips, Admission(max_requests), metrics)
            app = make_app(service, key, is_loopback, host)
            server = HttpServer(app, service, drain_s, ready.set)
            batcher.start(server.stop)
            port = bound.getsockname()[1]
            behind = backend, device, service, server, batcher, thread, key
            made.append(Running(port, *behind, address=bound.getsockname()[0]))
            await server.serve([bound])
            backend.gate.set()
            assert batcher.stop(5)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    [running] = made
    try:
        yield running
    finally:
        running.server.stop()
        backend.gate.set()
        thread.join(20)
        for connection in running.connections:
            connection.close()
    assert not thread.is_alive()


@pytest.fixture
def backend():
    return EchoBackend()


@pytest.fixture
def device():
    return FragileDevice()


@pytest.fixture
def serve(backend, device):
    """Starts servers of the test's backend; the options are those of `serving`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(backend, device, **options))


@pytest.fixture(scope="session")
def shared():
    """One server for all tests that only ask."""
    with serving(EchoBackend(), FragileDevice()) as running:
        yield running


@pytest.fixture(scope="session")
def wav():
    """A short WAV whose sound the seed decides."""

    def make(seed: int = 0, num_samples: int = 1600) -> bytes:
        sound = np.random.default_rng(seed).integers(-3000, 3000, num_samples, dtype="<i2")
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(sound.tobytes())
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def parts(wav):
    """Message parts: a clip as a data URI, then a text."""

    def make(text: str, seed: int = 0, **of_clip: int) -> list[dict[str, Any]]:
        data = base64.b64encode(wav(seed, **of_clip)).decode()
        url = f"data:audio/wav;base64,{data}"
        return [
            {"type": "audio_url", "audio_url": {"url": url}},
            {"type": "text", "text": text},
        ]

    return make
