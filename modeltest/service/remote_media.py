"""Fetches a clip from a host that the server's owner named: no redirects, no proxy, a deadline."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from concurrent.futures import Future, wait
from contextlib import suppress
from urllib.parse import SplitResult

from modeltest.errors import one_line
from modeltest.service.limits import MAX_BODY_BYTES
from modeltest.service.refusals import BAD_REQUEST, Refusal

DEADLINE_S = 10.0


def download(address: SplitResult, name: str) -> bytes:
    """The body of a GET.

    Args:
        address: http or https, its host allowed.
        name: The clip's, for messages.

    Raises:
        Refusal: 400, anything but a whole reply with status 200 in time.
    """
    fetch = _Fetch(address)
    # A thread of its own: nothing else bounds the look-up of a name, and a peer that sends a
    # byte now and then never runs into a socket's own timeout.
    threading.Thread(target=fetch.run, name="fetch of a clip", daemon=True).start()
    is_over = bool(wait([fetch.body], DEADLINE_S).done)
    fetch.cut()
    if not is_over:  # and whatever it still brings: a body may end where it was cut
        raise Refusal(BAD_REQUEST, f"{name}: fetching it took longer than {DEADLINE_S:g} s")
    try:
        return fetch.body.result()
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
        raise Refusal(BAD_REQUEST, f"{name}: fetching it failed ({one_line(why)[:200]})") from error


class _Fetch:
    """One GET, which another thread can end wherever it waits, but for the look-up of the name.

    Attributes:
        body: The whole reply's, or why there is none.
    """

    def __init__(self, address: SplitResult) -> None:
        self.body: Future[bytes] = Future()
        self._address = address
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._was_cut = False

    def run(self) -> None:
        """Fetches."""
        try:
            self.body.set_result(self._get())
        except BaseException as error:  # for who waits
            self.body.set_exception(error)

    def cut(self) -> None:
        """Ends the fetch; without effect on one that is over."""
        with self._lock:
            self._was_cut = True
            if self._sock is not None:
                _shut(self._sock)

    def _get(self) -> bytes:
        is_tls = self._address.scheme.lower() == "https"
        host = self._address.hostname or ""
        port = self._address.port or (443 if is_tls else 80)
        found = _address_of(host, port)
        with socket.create_connection((found, port), DEADLINE_S) as plain:
            self._hold(plain)
            if not is_tls:
                return _get(self._address, plain)
            context = ssl.create_default_context()
            # Wrapping takes the connection away from the plain socket, which then cuts nothing.
            with context.wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            ) as wrapped:
                self._hold(wrapped)
                wrapped.do_handshake()
                return _get(self._address, wrapped)

    def _hold(self, sock: socket.socket) -> None:
        """Names the socket that a cut ends."""
        with self._lock:
            if self._was_cut:
                raise TimeoutError
            self._sock = sock


def _address_of(host: str, port: int) -> str:
    """The host's address, to which the connection is then made.

    A name that leads to this machine or its link would open what only they may reach; who
    means that says so by writing the address, or `localhost`.
    """
    found = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    address = ipaddress.ip_address(found.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    is_near = address.is_loopback or address.is_link_local or address.is_unspecified
    if is_near and host != "localhost" and not _is_address(host):
        raise ValueError(f"{host} leads to {found}")
    return found


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _get(address: SplitResult, sock: socket.socket) -> bytes:
    connection = http.client.HTTPConnection(address.netloc)
    connection.sock = sock
    try:
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request("GET", target, headers={"Accept-Encoding": "identity"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise ValueError(f"status {response.status}; redirects are not followed")
        data = response.read(MAX_BODY_BYTES + 1)
        if len(data) > MAX_BODY_BYTES:
            raise ValueError(f"larger than {MAX_BODY_BYTES >> 20} MiB")
        if response.length:
            raise ValueError("it ends before its declared length")
        return data
    finally:
        connection.close()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        # TLS sockets have a shutdown of their own, which forgets the session that is being read.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
