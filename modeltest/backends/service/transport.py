"""HTTP as a hostile or a busy service needs it: bounded in time, size and attempts.

Bodies are read raw up to a limit, an encoded one is refused, redirects are not followed and
the environment's proxies, certificates and netrc do not count unless the settings say so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

import httpx

from modeltest.backends.service.failures import AskError, KeyRefusedError, error_text, shortened
from modeltest.backends.service.secret import Secret
from modeltest.errors import ModelError

T = TypeVar("T")

MAX_BODY_BYTES = 8 << 20
_MAX_ERROR_BYTES = 64 << 10
_BUSY = frozenset({429, 500, 502, 503, 504})
# Servers close idle connections after 5 s (uvicorn) and more; one of theirs must not be taken.
_KEEP_ALIVE_S = 2.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 8.0


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How to reach a service.

    Attributes:
        base_url: Without a slash at its end.
        timeout_s: For one whole request, attempts and pauses included.
        max_connections: Most at a time.
        retries: Further attempts where the service is busy or does not answer.
        authorities: Check the server's certificate against the usual ones or a file's; False
            checks nothing.
        trust_env: Take the proxy that the environment names.
    """

    base_url: str
    timeout_s: float
    max_connections: int
    retries: int
    authorities: bool | Path
    trust_env: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer of status 200, and its body as it comes.

    Attributes:
        headers: Names are found whichever way they are spelled.
        media_type: Of the body, in lower case; empty where the service does not say.
        chunks: The body's bytes; what cuts it short or makes it too long is an AskError.
    """

    headers: Mapping[str, str]
    media_type: str
    chunks: AsyncIterator[bytes]


class Transport:
    """A client with connections that are kept; all of it belongs to one event loop."""

    def __init__(self, settings: TransportSettings, secret: Secret) -> None:
        """Opens no connection.

        Raises:
            ModelError: The file of certificates cannot be used.
        """
        self._settings = settings
        # Their lines would hold what the service wrote into its status line.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        num = settings.max_connections
        self._client = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity", "User-Agent": "modeltest", **secret.headers},
            verify=tls_context(settings.authorities),
            timeout=None,  # the deadline covers all of a request
            follow_redirects=False,
            trust_env=settings.trust_env,
            limits=httpx.Limits(
                max_connections=num,
                max_keepalive_connections=num,
                keepalive_expiry=_KEEP_ALIVE_S,
            ),
        )

    async def ask(
        self,
        path: str,
        body: bytes,
        read: Callable[[Answer], Awaitable[T]],
        on_retry: Callable[[AskError], None],
    ) -> T:
        """Sends a request until it is answered, for as long as its time and attempts last.

        Args:
            path: Below the base URL.
            body: JSON.
            read: Reads the answer's body.
            on_retry: Told why there is another attempt.

        Raises:
            AskError: It failed.
            KeyRefusedError: The service wants another key.
        """
        work = self._attempts(path, body, read, on_retry)
        return await within(self._settings.timeout_s, work)

    async def fetch(self, path: str, timeout_s: float) -> tuple[int, Mapping[str, str], bytes]:
        """GETs a small resource, once: status, headers and body, whatever the status.

        Raises:
            AskError: The service cannot be reached or gives no whole answer in time.
        """

        async def work() -> tuple[int, Mapping[str, str], bytes]:
            async with self._sent("GET", path) as response:
                body = b"".join([chunk async for chunk in _chunks(response)])
                return response.status_code, response.headers, body

        return await within(timeout_s, work())

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _attempts(
        self,
        path: str,
        body: bytes,
        read: Callable[[Answer], Awaitable[T]],
        on_retry: Callable[[AskError], None],
    ) -> T:
        ends_s = _now_s() + self._settings.timeout_s
        for attempt in range(self._settings.retries + 1):
            try:
                return await self._attempt(path, body, read)
            except AskError as error:
                pause_s = _pause_s(attempt, error.wait_s)
                is_last = attempt == self._settings.retries
                if not error.may_retry or is_last or _now_s() + pause_s >= ends_s:
                    raise
                on_retry(error)
            await asyncio.sleep(pause_s)
        raise RuntimeError("the last attempt neither returned nor raised")

    async def _attempt(self, path: str, body: bytes, read: Callable[[Answer], Awaitable[T]]) -> T:
        async with self._sent("POST", path, body) as response:
            if response.status_code != httpx.codes.OK:
                await _refuse(response)
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            return await read(Answer(response.headers, media_type, _chunks(response)))

    @asynccontextmanager
    async def _sent(
        self, method: str, path: str, body: bytes = b""
    ) -> AsyncIterator[httpx.Response]:
        """Sends; failures before the answer's head may be tried again, later ones may not."""
        headers = {"Content-Type": "application/json"} if body else {}
        url = f"{self._settings.base_url}{path}"
        try:
            request = self._client.build_request(method, url, content=body or None, headers=headers)
            response = await self._client.send(request, stream=True)
        except (httpx.RequestError, httpx.InvalidURL, OSError, UnicodeError) as error:
            what = f"no answer ({cause(error)})"
            raise AskError(what, is_service=True, may_retry=True) from None
        try:
            yield response
        finally:
            await response.aclose()


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Ends work that takes too long, wherever it waits.

    Raises:
        AskError: It did.
    """
    try:
        return await asyncio.wait_for(work, seconds)
    except (asyncio.TimeoutError, TimeoutError):
        raise AskError(f"no whole answer within {seconds:g} s", is_service=True) from None


def tls_context(authorities: bool | Path) -> ssl.SSLContext:
    """What server certificates are held against.

    Raises:
        ModelError: The file cannot be used.
    """
    import certifi

    file = certifi.where() if isinstance(authorities, bool) else str(authorities)
    try:
        context = ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl's own errors are OSErrors
        reason = error.strerror or "no certificates"
        raise ModelError(f"verify: {file} cannot be used ({reason}); name a PEM file") from None
    if authorities is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def cause(error: BaseException) -> str:
    """Why a request failed, in the words of whoever failed first: the system, OpenSSL, h11."""
    first = error
    while (below := first.__cause__ or first.__context__) is not None:
        first = below
    is_system = isinstance(first, OSError) and not isinstance(first, ssl.SSLError)
    if is_system and (number := getattr(first, "errno", None)) and number > 0:
        return os.strerror(number)  # asyncio's own words name the address again
    return shortened(str(first) or str(error) or type(error).__name__)


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise AskError(f"the reply is encoded ({shortened(encoding)}), which was not asked for")
    num_bytes = 0
    try:
        async for chunk in response.aiter_raw():
            num_bytes += len(chunk)
            if num_bytes > MAX_BODY_BYTES:
                raise AskError(f"the reply is larger than {MAX_BODY_BYTES >> 20} MiB")
            yield chunk
    except (httpx.RequestError, httpx.StreamError, OSError) as error:
        raise AskError(f"the reply was cut ({cause(error)})", is_service=True) from None


async def _refuse(response: httpx.Response) -> None:
    """Raises what an answer of another status means."""
    status = response.status_code
    if response.is_redirect:
        where = shortened(response.headers.get("location", ""))
        raise AskError(f"status {status}: redirects to {where}, which is not followed")
    said = await _said(response)
    what = f"status {status}: {said}" if said else f"status {status} without a word"
    if status in {401, 403}:
        raise KeyRefusedError(what)
    if status not in _BUSY:
        raise AskError(what)
    wait_s = retry_after_s(response.headers.get("retry-after", ""))
    raise AskError(what, is_service=True, may_retry=True, wait_s=wait_s)


async def _said(response: httpx.Response) -> str:
    """The message of an error's body; what cannot be read is nothing."""
    body = b""
    with suppress(AskError):
        async for chunk in _chunks(response):
            body += chunk
            if len(body) > _MAX_ERROR_BYTES:
                break
    return error_text(body)


def retry_after_s(text: str, now: datetime | None = None) -> float | None:
    """How long a service wants to be left alone, seconds (RFC 9110, 10.2.3).

    Args:
        text: A whole number of seconds or an HTTP date.
        now: For tests.

    Returns:
        None where it does not say, or in no such form.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    seconds = (until - (now or datetime.now(timezone.utc))).total_seconds()
    return max(0.0, seconds)


def _pause_s(attempt: int, wait_s: float | None) -> float:
    """Doubles with every attempt; jittered, so that many requests do not come back at once."""
    longest: float = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
    return max(wait_s or 0.0, longest * random.uniform(0.5, 1.0))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
