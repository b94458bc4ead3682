"""Fetches a clip from a host that the server's owner named: no redirects, no proxy, a deadline."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
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
    host = address.hostname or ""
    port = address.port or (443 if address.scheme.lower() == "https" else 80)
    try:
        with socket.create_connection((_address_of(host, port), port), DEADLINE_S) as plain:
            # A peer that sends a byte now and then never runs into a socket's own timeout.
            clock = threading.Timer(DEADLINE_S, _cut, [plain])
            clock.start()
            try:
                return _get(address, plain, host)
            finally:
                clock.cancel()
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
        raise Refusal(BAD_REQUEST, f"{name}: fetching it failed ({one_line(why)[:200]})") from error


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


def _get(address: SplitResult, plain: socket.socket, host: str) -> bytes:
    sock = plain
    if address.scheme.lower() == "https":
        sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
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


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
