"""A server on a plain socket that answers by a script: bytes, pauses and closed connections."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal

KEEP: Final = "keep"
"""The connection stays open for another request."""
HOLD: Final = "hold"
"""The connection stays open, and nothing follows."""

Step = bytes | float | Literal["keep", "hold"]
Script = Sequence[Step]
"""Bytes are sent, numbers are pauses in seconds; at its end the connection is closed."""


def answer(
    body: Any = b"",
    status: str = "200 OK",
    media_type: str | None = "application/json",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole answer; a body that is not bytes is sent as JSON."""
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(octets)}"]
    lines += [f"Content-Type: {media_type}"] if media_type else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join((*lines, "", "")).encode() + octets


def stream_head(media_type: str = "text/event-stream") -> bytes:
    """The head of an answer in chunks."""
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()


def chunk(octets: bytes) -> bytes:
    """One chunk (RFC 9112, 7.1)."""
    return f"{len(octets):x}\r\n".encode() + octets + b"\r\n"


END = b"0\r\n\r\n"


def event(value: Any) -> bytes:
    """A server-sent event, in a chunk of its own."""
    text = value if isinstance(value, str) else json.dumps(value)
    return chunk(f"data: {text}\n\n".encode())


@dataclass
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)


DEFAULT_GETS: Mapping[str, Script] = {
    "/health": (answer(), KEEP),
    "/v1/models": (answer({"object": "list", "data": [{"id": "m"}]}), KEEP),
    "/version": (answer({"version": "1.2.3"}), KEEP),
}


@dataclass
class RawServer:
    """Answers the n-th POST by the n-th script, the last one again and again.

    Attributes:
        scripts: Of POST requests; a function is told the request.
        gets: Scripts by path; other paths answer 404.
        context: For TLS.
        wanted_port: A certain one.
        received: The requests so far.
    """

    scripts: Sequence[Script | Callable[[Received], Script]] = ((),)
    gets: Mapping[str, Script] = field(default_factory=lambda: DEFAULT_GETS)
    context: ssl.SSLContext | None = None
    wanted_port: int = 0
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> RawServer:
        self._ended = threading.Event()
        self._num_posts = 0
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", self.wanted_port))
        self.port = int(self._socket.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[Received]:
        return [request for request in self.received if request.method == "POST"]

    def stop(self) -> None:
        """Closes the port and all connections."""
        self._ended.set()
        with suppress(OSError):  # wakes the thread that accepts
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            while (request := _read(connection)) and self._played(connection, request):
                pass
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _played(self, connection: socket.socket, request: Received) -> bool:
        """Plays the request's script; whether the connection stays open."""
        for step in self._script(request):
            if isinstance(step, bytes):
                connection.sendall(step)
            elif isinstance(step, float | int):
                if self._ended.wait(step):
                    return False
            elif step == HOLD:
                self._ended.wait()
            else:
                return True
        return False

    def _script(self, request: Received) -> Script:
        with self._lock:
            self.received.append(request)
            if request.method != "POST":
                return self.gets.get(request.path, (answer({}, "404 Not Found"), KEEP))
            self._num_posts += 1
            script = self.scripts[min(self._num_posts, len(self.scripts)) - 1]
            return script(request) if callable(script) else script


def _read(connection: socket.socket) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, path, _ = first.split(" ")
    return Received(method, path, headers, body)
