"""How asking a service fails, and what its error bodies say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeltest.errors import one_line
from modeltest.plain_files import strict_json

MAX_SHOWN = 300
CUT = "…"
"""Stands where a text was shortened."""


class AskError(Exception):
    """One request failed.

    Attributes:
        is_service: The service failed rather than this request; all requests of a batch
            failing so is a reason to look whether it is still there.
        may_retry: Nothing of a reply arrived, and another attempt may do better.
        wait_s: How long the service wants to be left alone, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        is_service: bool = False,
        may_retry: bool = False,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.is_service = is_service
        self.may_retry = may_retry
        self.wait_s = wait_s


class KeyRefusedError(Exception):
    """The service answered 401 or 403: no request will do better."""


def shortened(text: str) -> str:
    """A service's words on one line and of bounded length."""
    words = one_line(" ".join(text[: 4 * MAX_SHOWN].split()))
    if len(text) <= 4 * MAX_SHOWN and len(words) <= MAX_SHOWN:
        return words
    return words[: MAX_SHOWN - 1] + CUT


def error_text(body: bytes) -> str:
    """What an error's body says, whichever shape it has; empty where it says nothing."""
    text = body.decode("utf-8", "replace")
    try:
        value = strict_json(text)
    except (ValueError, RecursionError):
        return shortened(text)
    return shortened(said(value) or text)


def said(value: Any) -> str:
    """The message of an error value; empty where it holds none.

    OpenAI and newer vLLM: `{"error": {"message": …}}`; older vLLM: `{"object": "error",
    "message": …}`; MindIE: `{"error": …, "error_type": …}` or `{"message": …}`; FastAPI:
    `{"detail": …}`.
    """
    if not isinstance(value, Mapping):
        return ""
    found = value.get("error") or value.get("message") or value.get("detail")
    if isinstance(found, Mapping):
        found = found.get("message") or found.get("type") or found
    if not found:
        return ""
    kind = value.get("error_type")
    return f"{kind}: {found}" if isinstance(kind, str) and kind else str(found)


def reported_error(value: Any) -> AskError | None:
    """The error that a body or a chunk of status 200 holds instead of a reply."""
    if isinstance(value, Mapping) and (value.get("error") or value.get("object") == "error"):
        return AskError(f"the service reports: {shortened(said(value) or 'an error')}")
    return None
