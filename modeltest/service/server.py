"""Listens, and stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from modeltest.errors import UsageError, one_line
from modeltest.service.answering import Service

_KEEP_ALIVE_S = 75
_LAST_WORDS_S = 3
_BACKLOG = 2048


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket, taken before the model is loaded; nobody can connect to it yet.

    Raises:
        UsageError: The address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {one_line(host)}: {_reason(error)}") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise UsageError(
            f"--host {one_line(host)} --port {port}: {_reason(error)}; choose another port, or end "
            "what uses this one"
        ) from error
    return bound


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine reaches the socket."""
    return ipaddress.ip_address(str(bound.getsockname()[0]).partition("%")[0]).is_loopback


def url_of(bound: socket.socket) -> str:
    """Where clients find it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HttpServer(uvicorn.Server):
    """uvicorn that leaves the signals to the command, and stops in a bounded time."""

    def __init__(
        self, app: FastAPI, service: Service, drain_s: float, on_ready: Callable[[], None]
    ) -> None:
        """Starts nothing yet.

        Args:
            app: What is served.
            service: Told to stop.
            drain_s: How long accepted requests may take when the server stops, seconds.
            on_ready: Called when clients can connect.
        """
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(drain_s) + _LAST_WORDS_S,
            )
        )
        self._service = service
        self._drain_s = drain_s
        self._on_ready = on_ready

    def stop(self) -> None:
        """Ends the server in order; from any thread or signal handler."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes nothing new, lets what was accepted finish, and tells the rest that it ends."""
        self._service.is_stopping = True
        timer = asyncio.get_running_loop().call_later(self._drain_s, self._service.give_up)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def _reason(error: OSError | UnicodeError) -> str:
    return getattr(error, "strerror", None) or str(error)
