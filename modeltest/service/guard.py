"""What every request must bring before anything of it is read: the key, and the right host."""

from __future__ import annotations

import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from modeltest.service.forms import Form
from modeltest.service.refusals import BAD_REQUEST, UNAUTHORIZED, Refusal

_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}
_NEEDS_NO_KEY = {"/health"}


class Guard:
    """ASGI middleware.

    On loopback a request for another host's name is refused: it comes from a page in a browser
    that made its own name lead here (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, key: str | None, is_loopback: bool, forms: dict[str, Form]
    ) -> None:
        """Wraps an app.

        Args:
            app: What is guarded.
            key: The bearer token; None asks for none.
            is_loopback: Whether only this machine reaches the server.
            forms: Per path how it words a refusal; "" for all others.
        """
        self._app = app
        self._token = None if key is None else key.encode()
        self._is_loopback = is_loopback
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
        host = headers.get(b"host", b"localhost").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._is_loopback and name not in _LOOPBACK_NAMES:
            return Refusal(BAD_REQUEST, "this server answers to localhost and 127.0.0.1 only")
        if self._token is None or scope["path"] in _NEEDS_NO_KEY:
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
