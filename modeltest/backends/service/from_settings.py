"""From a model file to a backend: what cannot work is refused before anybody is contacted."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modeltest.backends.service.presets import base_url_of, preset_of, sampling_of, wire_of
from modeltest.backends.service.secret import api_key
from modeltest.errors import ModelError, one_line
from modeltest.settings.schema import ModelSettings
from modeltest.settings.service_schema import is_loopback

if TYPE_CHECKING:
    from modeltest.backends.service.backend import ServiceBackend
    from modeltest.backends.service.reply import Route


def check_service(settings: ModelSettings, where: str) -> None:
    """Makes sure that a service can be asked; contacts nobody.

    Args:
        settings: Of a service.
        where: The settings file, for messages.

    Raises:
        ModelError: Names the key to mend.
    """
    for key, problem in _problems(settings):
        raise ModelError(f"{where}: key '{key}': {problem}")
    if find_spec("httpx") is None:
        raise ModelError("httpx is not installed, which asks services; pip install httpx")
    api_key(settings.api_key_env)


def service_warnings(settings: ModelSettings) -> tuple[str, ...]:
    """What nobody should read a service's results without; a line each."""
    url, found = base_url_of(settings), []
    if urlsplit(url).scheme == "http" and not is_loopback(url):
        found.append(
            f"{url} is asked over plain http: whoever is in between reads and changes clips, "
            "replies" + (" and the API key" if settings.api_key_env else "")
        )
    if settings.verify is False:
        found.append(f"{url}: its certificate is not checked (verify: false)")
    return tuple(found)


def make_service_backend(settings: ModelSettings, seed: int, measuring: bool) -> ServiceBackend:
    """Makes the backend; contacts nobody.

    Args:
        settings: Checked.
        seed: Sent along.
        measuring: For speed: no second attempts, and streams where the route has them.

    Raises:
        ModelError: The key or the certificates cannot be used.
    """
    from modeltest.backends.service.backend import ServiceBackend, ServiceSettings
    from modeltest.backends.service.transport import TransportSettings

    preset, own = preset_of(settings), settings.request
    chosen = ServiceSettings(
        name=settings.backend,
        service=settings.service or "",
        model=settings.model or "",
        route=_route(settings, seed),
        wire=wire_of(settings),
        transport=TransportSettings(
            base_url=base_url_of(settings),
            timeout_s=settings.timeout_s,
            max_connections=settings.max_concurrency,
            retries=0 if measuring else settings.retries,
            authorities=settings.verify,
            trust_env=settings.trust_env,
        ),
        health=settings.health or preset.health,
        stream=own.stream or measuring,
        max_audio_s=settings.max_audio_s,
        can_ignore_eos=preset.can_ignore_eos,
        media_folder=own.media_folder,
        media_url=own.media_url,
        api_key_env=settings.api_key_env,
    )
    return ServiceBackend(chosen, api_key(settings.api_key_env))


def _route(settings: ModelSettings, seed: int) -> Route:
    wire, model, sampling = wire_of(settings), settings.model or "", sampling_of(settings, seed)
    if settings.backend == "generate":
        from modeltest.backends.service.generate_route import GenerateRoute

        return GenerateRoute(wire, model, sampling)
    from modeltest.backends.service.openai_route import OpenAiRoute

    return OpenAiRoute(wire, model, sampling)


def _problems(settings: ModelSettings) -> Iterator[tuple[str, str]]:
    """Keys that are missing or do not go together, with what to do."""
    own = settings.request
    if not settings.model:
        yield "model", "is missing; set it to the service's name of the model"
    if not base_url_of(settings):
        yield "base_url", "is missing; set it to the service's address, http://HOST:PORT"
    if settings.batch_size > settings.max_concurrency:
        yield (
            "batch_size",
            f"{settings.batch_size} requests at a time (--bs), and max_concurrency is "
            f"{settings.max_concurrency}; raise that, or lower this",
        )
    if settings.backend == "generate" and settings.service == "openai":
        yield "service", "openai has no /generate; use backend: openai, or service: mindie"
    if settings.backend == "openai" and own.form == "tgi":
        yield "request.form", "tgi is a form of /generate; use backend: generate"
    if own.form == "tgi" and own.stream:
        yield "request.stream", "replies in the TGI form are not streamed; delete the key"
    yield from _media_problems(settings)


def _media_problems(settings: ModelSettings) -> Iterator[tuple[str, str]]:
    own, root = settings.request, preset_of(settings).media_root
    for key, wanted in (("media_folder", ("file", "http")), ("media_url", ("http",))):
        is_set = getattr(own, key) is not None
        if is_set != (own.media in wanted):
            what = f"is not for media: {own.media}; delete it" if is_set else "is missing; add it"
            yield f"request.{key}", what
    if own.media == "data" or own.media_folder is None:
        return
    if wire_of(settings).audio_part == "input_audio":
        yield "request.media", "input_audio carries its clip; set audio_part to audio_url"
    if not own.media_folder.is_absolute() or ".." in own.media_folder.parts:
        yield "request.media_folder", "has to be the folder's full path, as the service sees it"
    if own.media == "file" and root and not own.media_folder.is_relative_to(root):
        yield (
            "request.media_folder",
            one_line(f"{own.media_folder}: MindIE reads local files below {root} only"),
        )
    if not own.media_folder.is_dir():
        yield "request.media_folder", one_line(f"{own.media_folder}: there is no such folder")
