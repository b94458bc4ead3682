"""A model behind a service: sends a batch's requests at once and waits for all replies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from modeltest.backends.service.audio_part import MediaFolder, data_text, encoded
from modeltest.backends.service.failures import AskError, KeyRefusedError, shortened
from modeltest.backends.service.health import Served, UnhealthyError, is_well, look
from modeltest.backends.service.loop_thread import LoopThread
from modeltest.backends.service.presets import Wire
from modeltest.backends.service.reading import Arrived, read_stream, read_whole
from modeltest.backends.service.reply import Route
from modeltest.backends.service.secret import CleanPieces, Secret
from modeltest.backends.service.transport import Answer, Transport, TransportSettings
from modeltest.errors import DeviceError, ModelError, UsageError
from modeltest.protocols import OnText
from modeltest.records import (
    AUDIO_PLACEHOLDER,
    Audio,
    Prompt,
    Request,
    Response,
    StageWork,
    Timing,
)
from modeltest.settings.service_schema import is_loopback

_LOG = logging.getLogger(__name__)
SAMPLING_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What the backend needs to know.

    Attributes:
        name: `openai` or `generate`.
        service: Name of the preset.
        model: As the service calls it.
        route: How it is asked.
        wire: How clips are spelled.
        transport: How it is reached.
        health: Routes of its health.
        stream: Let replies come in pieces.
        max_audio_s: Longest clip that its model hears whole, seconds.
        can_ignore_eos: Whether it knows how to go on behind the end token.
        media_folder: Where clips are put that it reads itself; None sends them along.
        media_url: Where it finds that folder; None: as local files.
        api_key_env: Name of the variable that holds its key, for messages.
    """

    name: str
    service: str
    model: str
    route: Route
    wire: Wire
    transport: TransportSettings
    health: tuple[str, ...]
    stream: bool
    max_audio_s: float
    can_ignore_eos: bool
    media_folder: Path | None = None
    media_url: str | None = None
    api_key_env: str | None = None


@dataclass(slots=True)
class _Asked:
    """One request on its way.

    Attributes:
        request: What is asked.
        body: As it is sent.
        pieces: Told of each piece of the reply, if anybody is.
        start_s: `time.perf_counter()` when it was sent first.
        is_service_failure: It failed, and not by itself.
    """

    request: Request
    body: bytes
    pieces: CleanPieces | None
    start_s: float = 0.0
    is_service_failure: bool = False


class ServiceBackend:
    """Asks a service; every request has a time of its own.

    The service applies its chat template, counts tokens and decides on precision; what it
    does not tell stays unknown here.
    """

    sampling_rate_hz = SAMPLING_RATE_HZ

    def __init__(self, settings: ServiceSettings, secret: Secret) -> None:
        """Contacts nobody.

        Args:
            settings: Checked.
            secret: The service's API key, or none.

        Raises:
            ModelError: The file of certificates cannot be used.
        """
        self._settings = settings
        self._secret = secret
        self._transport = Transport(settings.transport, secret)
        self._thread: LoopThread | None = None
        self._served: Served | None = None
        self._num_retries = 0
        self._in_flight: int | None = None
        self._media = (
            MediaFolder(settings.media_folder, settings.media_url)
            if settings.media_folder
            else None
        )

    @property
    def name(self) -> str:
        """`openai` or `generate`."""
        return self._settings.name

    @property
    def can_ignore_eos(self) -> bool:
        """Whether the service can go on behind the end token."""
        return self._settings.can_ignore_eos

    @property
    def is_on_this_host(self) -> bool:
        """Whether the service runs beside its client."""
        return is_loopback(self._base_url)

    def limit_in_flight(self, num_requests: int) -> None:
        """Lets `generate` take more requests than are on their way at a time.

        Raises:
            UsageError: So many connections are not allowed.
        """
        self._refuse_too_many(num_requests)
        self._in_flight = num_requests

    def drop_clips(self) -> None:
        """Removes the clips that were put where the service reads them."""
        if self._media:
            self._media.clear()

    @property
    def max_audio_s(self) -> float:
        """As the settings say; services do not tell."""
        return self._settings.max_audio_s

    def render(self, prompt: Prompt, num_clips: int) -> str:
        """The dialogue as it is sent, `{audio}` for each clip; the service's template follows.

        Raises:
            ModelError: The prompt is raw, which no service takes.
        """
        if prompt.format != "chat":
            raise ModelError(
                "a service applies its own chat template; ask with task.prompt_format=chat"
            )
        if not prompt.turns:
            return AUDIO_PLACEHOLDER * num_clips + prompt.text
        lines = []
        for turn in prompt.turns:
            num_clips -= turn.num_clips
            lines.append(f"user: {AUDIO_PLACEHOLDER * turn.num_clips}{turn.text}")
            lines.append(f"assistant: {turn.reply}")
        return "\n".join((*lines, f"user: {AUDIO_PLACEHOLDER * num_clips}{prompt.text}"))

    def num_input_tokens(self, request: Request) -> int:
        """Only the service knows, and only afterwards.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"{self._base_url}: a service counts its tokens itself; leave --max-input-length out"
        )

    def load(self) -> None:
        """Makes sure that the service is there, well, and serves the model.

        Raises:
            ModelError: It is not.
        """
        self._look()

    def prepare(self, requests: Sequence[Request]) -> list[bytes]:
        """The requests' bodies, as they are sent when nobody waits for pieces of text.

        Raises:
            ModelError: A prompt is raw, or a clip cannot be put where the service finds it.
            UsageError: The service cannot do what a request asks.
        """
        return self._bodies(requests, self._is_streamed(None))

    def generate(
        self,
        requests: Sequence[Request],
        prepared: list[bytes] | None = None,
        on_text: OnText | None = None,
    ) -> list[Response]:
        """Sends all requests at once; a failure costs its sample only.

        Raises:
            ModelError: The service wants another key.
            DeviceError: It is gone: every request failed, and it is not well.
            UsageError: The batch is larger than `max_concurrency`.
        """
        self._refuse_too_many(self._in_flight or len(requests))
        stream = self._is_streamed(on_text)
        if prepared is None or stream != self._is_streamed(None):
            prepared = self._bodies(requests, stream)
        batch = [
            _Asked(request, body, self._pieces(place, on_text))
            for place, (request, body) in enumerate(zip(requests, prepared, strict=True))
        ]
        try:
            return self._loop.run(self._answers(batch, stream))
        except KeyRefusedError as error:
            raise self._key_refused(error) from None

    def identity(self, certified: bool) -> Mapping[str, Any]:
        """Who is asked for what; asks the service for its version.

        Raises:
            ModelError: The service is not there, not well, or does not serve the model.
        """
        served, settings = self._look(), self._settings
        wire = settings.wire
        return {
            "service": settings.service,
            "base_url": settings.transport.base_url,
            "route": settings.route.path,
            "model": {"name": settings.model},
            "version": served.version,
            "generation": dict(settings.route.sampling),
            "form": wire.form,
            "audio": {
                "part": wire.audio_part,
                "format": f"wav {wire.sample_format}",
                "sampling_rate_hz": SAMPLING_RATE_HZ,
            },
            "prompt_format": "chat",
        }

    def facts(self) -> Mapping[str, Any]:
        """What the service says of itself, and how often it had to be asked again."""
        served, transport = self._served, self._settings.transport
        return {
            "base_url": transport.base_url,
            "model": self._settings.model,
            "served_models": list(served.models or ()) if served else [],
            "version": served.version if served else None,
            "server": served.server if served else None,
            "is_verified": transport.authorities is not False,
            "max_concurrency": transport.max_connections,
            "timeout_s": transport.timeout_s,
            "num_retries": self._num_retries,
        }

    def work(self, requests: Sequence[Request], output_tokens: int) -> Mapping[str, StageWork]:
        """Nobody knows what the service computes."""
        return {}

    def close(self) -> None:
        """Closes the connections and removes the clips that were put aside."""
        if self._thread:
            self._thread.run(self._transport.close())
            self._thread.close()
            self._thread = None
        self.drop_clips()

    @property
    def _base_url(self) -> str:
        return self._settings.transport.base_url

    @property
    def _loop(self) -> LoopThread:
        if self._thread is None:
            self._thread = LoopThread()
        return self._thread

    def _look(self) -> Served:
        """Asks once what the service says of itself, without the key that it may repeat."""
        if self._served is None:
            settings, clean = self._settings, self._secret.cleaned
            looking = look(self._transport, settings.health, settings.transport.timeout_s)
            try:
                seen = self._loop.run(looking)
            except KeyRefusedError as error:
                raise self._key_refused(error) from None
            except UnhealthyError as error:
                what = f"{self._base_url}: {error}; start the service, or correct base_url"
                raise ModelError(clean(what)) from None
            cleaned = Served(
                models=tuple(map(clean, seen.models)) if seen.models is not None else None,
                version=seen.version and clean(seen.version),
                server=seen.server and clean(seen.server),
            )
            self._refuse_other_models(cleaned.models)
            self._served = cleaned
        return self._served

    def _refuse_other_models(self, names: tuple[str, ...] | None) -> None:
        if names is not None and self._settings.model not in names:
            served = shortened(", ".join(names)) or "no model"
            raise ModelError(
                f"{self._base_url}: serves {served}, not {self._settings.model}; set model to one "
                "that it serves"
            )

    def _key_refused(self, error: KeyRefusedError) -> ModelError:
        variable = self._settings.api_key_env
        what = f"refuses the key in {variable}" if variable else "wants a key"
        todo = "set another one" if variable else "name its variable in api_key_env"
        return ModelError(self._secret.cleaned(f"{self._base_url}: {what} ({error}); {todo}"))

    def _is_streamed(self, on_text: OnText | None) -> bool:
        settings = self._settings
        return settings.route.can_stream and (settings.stream or on_text is not None)

    def _bodies(self, requests: Sequence[Request], stream: bool) -> list[bytes]:
        switch = self._settings.route.streaming(stream)
        return [orjson.dumps({**self._body(request), **switch}) for request in requests]

    def _body(self, request: Request) -> dict[str, Any]:
        asked = request.generation
        if asked.stop_pattern:
            raise UsageError("a service ends no reply at its answer; leave --stop-at-answer out")
        if asked.ignore_eos and not self._settings.can_ignore_eos:
            raise UsageError(
                f"service: {self._settings.service} cannot go on behind the end token; measure "
                "with replies that end by themselves"
            )
        self.render(request.prompt, len(request.audio))
        return self._settings.route.body(request, [self._clip(clip) for clip in request.audio])

    def _clip(self, audio: Audio) -> str:
        wav = encoded(audio, self._settings.wire)
        return self._media.put(audio, wav) if self._media else data_text(wav, self._settings.wire)

    def _pieces(self, place: int, on_text: OnText | None) -> CleanPieces | None:
        return CleanPieces(self._secret, partial(on_text, place)) if on_text else None

    def _refuse_too_many(self, num_requests: int) -> None:
        limit = self._settings.transport.max_connections
        if num_requests > limit:
            raise UsageError(
                f"{num_requests} requests at a time, and max_concurrency is {limit}; raise it or "
                "take a smaller --bs"
            )

    async def _answers(self, batch: Sequence[_Asked], stream: bool) -> list[Response]:
        lanes = asyncio.Semaphore(self._in_flight or len(batch))

        async def in_lane(asked: _Asked) -> Response:
            async with lanes:
                return await self._answer(asked, stream)

        tasks = [asyncio.ensure_future(in_lane(asked)) for asked in batch]
        try:
            responses = await asyncio.gather(*tasks)
        finally:  # one failed for all of them, or nobody waits any more
            for task in tasks:
                task.cancel()
        if all(asked.is_service_failure for asked in batch):
            await self._refuse_lost(responses[0].error)
        return list(responses)

    async def _answer(self, asked: _Asked, stream: bool) -> Response:
        settings = self._settings

        async def read(answer: Answer) -> Arrived:
            if stream:
                return await read_stream(answer, settings.route, asked.pieces)
            arrived = await read_whole(answer, settings.route, asked.request)
            if asked.pieces:
                asked.pieces.add(arrived.reply.text)
            return arrived

        def note_retry(error: AskError) -> None:
            self._num_retries += 1
            why = self._secret.cleaned(str(error))
            _LOG.warning("sample %s: asked again after %s", asked.request.sample_id, why)

        asked.start_s = time.perf_counter()
        try:
            arrived = await self._transport.ask(settings.route.path, asked.body, read, note_retry)
        except AskError as error:
            asked.is_service_failure = error.is_service
            why = self._secret.cleaned(str(error))
            return Response(asked.request.sample_id, text="", error=why)
        if asked.pieces:
            asked.pieces.end()
        return self._response(asked, arrived)

    def _response(self, asked: _Asked, arrived: Arrived) -> Response:
        request, reply = asked.request, arrived.reply
        stream = arrived.stream_times(asked.start_s)
        return Response(
            sample_id=request.sample_id,
            text=self._secret.cleaned(reply.text),
            input_text=self.render(request.prompt, len(request.audio)),
            input_tokens=reply.input_tokens,
            audio_tokens=reply.audio_tokens,
            output_tokens=reply.output_tokens,
            finish_reason=reply.finish_reason,
            timing=Timing(e2e_s=arrived.end_s - asked.start_s, stream=stream),
        )

    async def _refuse_lost(self, failure: str) -> None:
        """Raises when the service is not there any more."""
        settings = self._settings
        if not await is_well(self._transport, settings.health, settings.transport.timeout_s):
            raise DeviceError(
                f"{self._base_url} does not answer any more ({failure}); start the service again"
            )
