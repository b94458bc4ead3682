"""The part of a model file that says which service to ask, and how."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from modeltest.settings.strict import PathText, Strict

SERVICES = ("openai", "generate")
"""Backends that ask a service."""

SERVED = "served"
"""In place of a precision or an engine that the service chose and does not tell."""

_ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
_LONGEST_URL = 500


def _web_address(text: str) -> str:
    """Refuses what is no plain http(s) address; never quotes it, it may hold a password."""
    if len(text) > _LONGEST_URL or not text.isprintable() or not text.isascii() or " " in text:
        raise ValueError("is no web address such as http://HOST:PORT")
    parts = _split(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError(
            "holds a user name or a password, which belongs into api_key_env's variable"
        )
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("ends in a ? or # part, and requests go to routes below it")
    return text


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # is looked at now, and may be no port
    except ValueError:
        raise ValueError("is no web address such as http://HOST:PORT") from None
    return parts


def is_loopback(url: str) -> bool:
    """Whether an address stays on this host."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _variable_name(text: str) -> str:
    # Never quoted: it may be the key itself.
    if not _ENVIRONMENT_NAME.fullmatch(text):
        raise ValueError(
            "expected the name of an environment variable in capitals, such as SERVICE_API_KEY, "
            "never the key itself"
        )
    return text


def _true_false_or_path(value: Any) -> Any:
    if not isinstance(value, bool | Path | str) or value == "":
        raise ValueError("expected true, false or the path of a file with CA certificates")
    return value


def _route(text: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9_./~-]*", text):
        raise ValueError("expected a path such as /health")
    return text


WebAddress = Annotated[str, AfterValidator(_web_address)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
Verify = Annotated[bool | PathText, BeforeValidator(_true_false_or_path)]
HealthRoute = Annotated[str, AfterValidator(_route)]


class RequestSettings(Strict):
    """`request` of a model file: how requests to a service are spelled; None is the preset's.

    Attributes:
        audio_part: A clip's form: an object with a `url`, a plain text, or base64 and a format.
        audio_subtype: MIME subtype of data URIs.
        sample_format: Samples on the wire: 16-bit PCM, or float32 without any rounding.
        media: A clip travels inside the request, as a file that the service reads from
            `media_folder`, or from `media_url`.
        media_folder: For `file` and `http`: where clips are put while they are asked about.
        media_url: For `http`: where the service finds `media_folder`.
        form: Of /generate: MindIE's list of parts, or TGI's `inputs`.
        stream: Let replies come in pieces, which shows when their first token was there.
    """

    audio_part: Literal["audio_url", "audio_url_text", "input_audio"] | None = None
    audio_subtype: Literal["wav", "x-wav"] | None = None
    sample_format: Literal["pcm16", "float32"] = "pcm16"
    media: Literal["data", "file", "http"] = "data"
    media_folder: PathText | None = None
    media_url: WebAddress | None = None
    form: Literal["parts", "tgi"] = "parts"
    stream: bool = False


MaxConcurrency = Annotated[int, Field(ge=1, le=1024)]
Retries = Annotated[int, Field(ge=0, le=10)]
Seconds = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]
