"""A proxy on loopback that keeps what a client asked a service and what that answered."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Recorder:
    """Passes requests on, whole, and answers, whole; use as a context manager.

    An exchange is kept once per route and body; bodies only as their SHA-256, since clips are
    long and a client that sends other bytes is what the replay shall notice.
    """

    def __init__(self, service: str) -> None:
        self._service = urlsplit(service)
        self._exchanges: dict[tuple[str, str, str], dict[str, Any]] = {}
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                recorder.pass_on(self)

            def do_POST(self) -> None:
                recorder.pass_on(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        """Asks the service and keeps the exchange."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(str(self._service.hostname), self._service.port)
        headers = {"Content-Type": handler.headers.get("Content-Type") or "application/json"}
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        content, kind = answer.read(), answer.getheader("Content-Type") or ""
        connection.close()
        digest = hashlib.sha256(body).hexdigest()
        self._exchanges[handler.command, handler.path, digest] = {
            "method": handler.command,
            "path": handler.path,
            "body_sha256": digest,
            "status": answer.status,
            "content_type": kind,
            "content": base64.b64encode(content).decode(),
        }
        handler.send_response(answer.status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def write(self, file: Path) -> None:
        """Keeps the exchanges, in the order of routes and bodies."""
        kept = [self._exchanges[key] for key in sorted(self._exchanges)]
        file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
