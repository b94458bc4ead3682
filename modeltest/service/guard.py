"""What every request must bring before anything is read: the key, the right host and origin."""

from __future__ import annotations

import hmac
import ipaddress

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from modeltest.service.forms import Form
from modeltest.service.refusals import BAD_REQUEST, FORBIDDEN, UNAUTHORIZED, Refusal

_NEEDS_NO_KEY = {"/health"}


class Guard:
    """ASGI middleware.

    On loopback a request for another host's name is refused: it comes from a page in a browser
    that made its own name lead here (DNS rebinding). A page of another host is refused anywhere: a
    browser sends its questions as plain text without asking the server first, and hides only the
    reply from it.
    """

    def __init__(
        self, app: ASGIApp, key: str | None, is_loopback: bool, host: str, forms: dict[str, Form]
    ) -> None:
        """Wraps an app.

        Args:
            app: What is guarded.
            key: The bearer token; None asks for none.
            is_loopback: Whether only this machine reaches the server.
            host: What it was told to listen on.
            forms: Per path how it words a refusal; "" for all others.
        """
        self._app = app
        self._token = None if key is None else key.encode()
        self._is_loopback = is_loopback
        self._host = host.lower()
        self._forms = forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        form = self._forms.get(scope["path"], self._forms[""])
        content = form.refused(refusal)
        reply = JSONResponse(content, form.status(refusal), headers=refusal.headers)
        await reply(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = dict(scope["headers"])
        host = _name(headers.get(b"host", b"localhost"))
        if self._is_loopback and not self._is_own(host):
            return Refusal(
                BAD_REQUEST, "this server answers to localhost and loopback addresses only"
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._is_own_page(origin, host):
            return Refusal(FORBIDDEN, "this server answers no web page of another host")
        return self._key_refusal(scope["path"], headers)

    def _is_own(self, name: str) -> bool:
        if name in {"localhost", self._host}:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _is_own_page(self, origin: bytes, host: str) -> bool:
        _, has_host, address = origin.partition(b"://")  # `null` has none
        name = _name(address)
        return bool(has_host) and (name == host or self._is_own(name))

    def _key_refusal(self, path: str, headers: dict[bytes, bytes]) -> Refusal | None:
        if self._token is None or path in _NEEDS_NO_KEY:
            return None
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        is_right = hmac.compare_digest(token.strip(), self._token)
        if scheme.lower() == b"bearer" and is_right:
            return None
        return Refusal(
            UNAUTHORIZED,
            "send the server's key: Authorization: Bearer …",
            {"WWW-Authenticate": "Bearer"},
        )


def _name(address: bytes) -> str:
    """A host without its port; an IPv6 address without its brackets."""
    text = address.decode("latin-1").lower()
    name = text if text.endswith("]") else text.rpartition(":")[0] or text
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name
