"""Whether a service is there, well, and serves the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.backends.service.failures import (
    AskError,
    KeyRefusedError,
    error_text,
    shortened,
)
from modeltest.backends.service.reply import json_value
from modeltest.backends.service.transport import Transport

TIMEOUT_S = 10.0
_MODELS, _VERSION = "/v1/models", "/version"
_ABSENT = (404, 405, 501)
_MAX_MODELS = 50


class UnhealthyError(Exception):
    """The service does not answer, or says that it is not well."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a service says of itself.

    Attributes:
        models: Names of the models that it serves; None where it does not tell.
        version: Its version, or None.
        server: What its HTTP server calls itself, or None.
    """

    models: tuple[str, ...] | None
    version: str | None
    server: str | None


async def look(transport: Transport, routes: Sequence[str], timeout_s: float) -> Served:
    """Asks for health, models and version.

    Args:
        transport: To the service.
        routes: Of its health, in the order in which they are tried.
        timeout_s: For each answer.

    Raises:
        UnhealthyError: One line says how it answered.
        KeyRefusedError: It wants another key.
    """
    patience_s = min(timeout_s, TIMEOUT_S)
    try:
        is_well = await _is_well(transport, routes, patience_s)
        status, headers, body = await _get(transport, _MODELS, patience_s)
        if status in _ABSENT and not is_well:
            tried = ", ".join((*routes, _MODELS))
            raise UnhealthyError(f"has none of the routes {tried}; is it a model's service")
        models = None if status in _ABSENT else _names(json_value(body))
        return Served(models, await _version(transport, patience_s), _word(headers.get("server")))
    except AskError as error:
        raise UnhealthyError(str(error)) from None


async def is_well(transport: Transport, routes: Sequence[str], timeout_s: float) -> bool:
    """Whether it still answers; for the middle of a run."""
    try:
        await look(transport, routes, timeout_s)
    except (UnhealthyError, KeyRefusedError):
        return False
    return True


async def _is_well(transport: Transport, routes: Sequence[str], timeout_s: float) -> bool:
    for route in routes:
        status, _, _ = await _get(transport, route, timeout_s)
        if status not in _ABSENT:
            return True
    return False


async def _get(
    transport: Transport, route: str, timeout_s: float
) -> tuple[int, Mapping[str, str], bytes]:
    status, headers, body = await transport.fetch(route, timeout_s)
    if status in _ABSENT or 200 <= status < 300:
        return status, headers, body
    said = error_text(body)
    what = f"{route} answers status {status}" + (f": {said}" if said else "")
    if status in {401, 403}:
        raise KeyRefusedError(what)
    raise UnhealthyError(what)


async def _version(transport: Transport, timeout_s: float) -> str | None:
    """As vLLM tells it; who has no such route has no version."""
    try:
        status, _, body = await transport.fetch(_VERSION, timeout_s)
        value = json_value(body) if status == 200 else None
    except AskError:
        return None
    return _word(value.get("version")) if isinstance(value, Mapping) else None


def _names(value: Any) -> tuple[str, ...]:
    data = value.get("data") if isinstance(value, Mapping) else None
    if not isinstance(data, list):
        raise UnhealthyError(f"{_MODELS} answers with no list of models")
    names = [entry.get("id") for entry in data[:_MAX_MODELS] if isinstance(entry, Mapping)]
    return tuple(name for name in names if isinstance(name, str))


def _word(value: Any) -> str | None:
    return shortened(value) if isinstance(value, str) and value else None
