"""`modeltest serve`: a model over HTTP, in OpenAI's form and in MindIE's."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from modeltest.cli.options import add_model_options, non_negative_int, positive_int
from modeltest.cli.signals import end_at_once_if_asked, ended_by
from modeltest.errors import EXIT_OK, UsageError, one_line

if TYPE_CHECKING:
    import socket

    from modeltest.protocols import Backend, Device
    from modeltest.service.answering import Service
    from modeltest.service.batcher import Batcher
    from modeltest.service.clips import ClipReader
    from modeltest.service.media import Allowance
    from modeltest.settings.load import Loaded
    from modeltest.settings.schema import ModelSettings

HELP = "serve a model over HTTP: /v1/chat/completions and /generate"
DEFAULT_PORT = 1025
_EXTRA = ("fastapi", "uvicorn", "prometheus_client")
_IN_PROCESS = ("transformers", "null")
# Behind the time that accepted requests have: a batch that ends, workers that are ended.
_LAST_S = 8.0
_LAST_BATCH_S = 2.0
_MAX_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("model", metavar="MODEL", help="a model's name or .yaml file")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="address to listen on; loopback is safe"
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, metavar="N", help="0 takes a free one"
    )
    parser.add_argument(
        "--bs",
        type=positive_int,
        metavar="N",
        help="most requests asked at once (default: the model file's)",
    )
    parser.add_argument(
        "--batch-wait-ms",
        type=non_negative_int,
        default=5,
        metavar="MS",
        help="how long a request waits for others to be asked with it",
    )
    parser.add_argument(
        "--allow-media",
        action="append",
        default=[],
        metavar="DIR|HOST",
        help="folder whose files, or host whose URLs, requests may name; may be repeated "
        "(default: audio in the request only)",
    )
    parser.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="environment variable with the key that clients must send",
    )
    _add_limits(parser)
    add_model_options(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-requests",
        type=positive_int,
        default=256,
        metavar="N",
        help="requests under way; more are told to come back later",
    )
    parser.add_argument(
        "--max-input-length",
        type=positive_int,
        default=8192,
        metavar="N",
        help="longest prompt in tokens, clips included (25 per second)",
    )
    parser.add_argument(
        "--max-output-length",
        type=positive_int,
        default=2048,
        metavar="N",
        help="longest reply that a request may ask for, tokens",
    )
    parser.add_argument("--seed", type=non_negative_int, default=0, metavar="N", help="random seed")


@dataclass(frozen=True, slots=True)
class _Setup:
    """What the server is made of, once everything was checked."""

    options: argparse.Namespace
    model: Loaded[ModelSettings]
    backend: Backend
    device: Device
    allowance: Allowance
    key: str | None
    bound: socket.socket


def execute(options: argparse.Namespace) -> int:
    """Serves until a signal comes.

    Raises:
        UsageError: The extra, the key, the address or a media folder is missing.
        DeviceError: The device was lost.
    """
    _require_extra()
    import asyncio

    from modeltest.backends.factory import checked_model, make_backend, model_warnings
    from modeltest.cli.options import load_model_settings
    from modeltest.devices.factory import choose, make_device
    from modeltest.runner.recovery import load
    from modeltest.service.media import parse_allowance
    from modeltest.service.server import listening_socket

    model = load_model_settings(options)
    if model.settings.backend not in _IN_PROCESS:
        raise UsageError(
            f"{model.name} is a service already (backend: {model.settings.backend}); serve takes "
            "a model that runs in this process"
        )
    model = checked_model(model)
    for warning in model_warnings(model.settings):
        _say(f"warning: {warning}")
    key = _key(options.api_key_env)
    allowance = parse_allowance(options.allow_media)
    with listening_socket(options.host, options.port) as bound:
        device = make_device(choose(options.device))
        backend = make_backend(model.settings, options.seed, device)
        load(backend, device)
        setup = _Setup(options, model, backend, device, allowance, key, bound)
        asyncio.run(_serve(setup))
    return EXIT_OK


async def _serve(setup: _Setup) -> None:
    """Serves until it is stopped.

    Raises:
        Interrupted: By a signal, in order.
        DeviceError: The device was lost; or what else ended the model's thread.
    """
    from modeltest.service.app import make_app
    from modeltest.service.clips import ClipReader
    from modeltest.service.limits import DRAIN_S
    from modeltest.service.server import HttpServer, is_loopback

    backend = setup.backend
    with ClipReader(setup.allowance, backend.sampling_rate_hz, backend.max_audio_s) as clips:
        service, batcher = _service(setup, clips)
        app = make_app(service, setup.key, is_loopback(setup.bound), setup.options.host)
        server = HttpServer(app, service, DRAIN_S, lambda: _say_ready(setup))
        with ended_by(server.stop, DRAIN_S + _LAST_S):
            batcher.start(server.stop)
            await server.serve([setup.bound])
            has_ended = batcher.stop(_LAST_BATCH_S)
            _say(_summary(service))
            if not has_ended:
                end_at_once_if_asked()
            backend.close()
            if batcher.failure is not None:
                raise batcher.failure


def _summary(service: Service) -> str:
    accepted, answered, left = service.num_accepted, service.num_answered, service.num_left
    return (
        f"stopped; requests: {accepted} accepted, {answered} answered, "
        f"{accepted - answered - left} refused or failed, {left} left by their client"
    )


def _service(setup: _Setup, clips: ClipReader) -> tuple[Service, Batcher]:
    import modeltest
    from modeltest.service.answering import Served, Service
    from modeltest.service.batcher import Batcher, Batching
    from modeltest.service.limits import Admission
    from modeltest.service.metrics import ServiceMetrics

    options, settings, metrics = setup.options, setup.model.settings, ServiceMetrics()
    batcher = Batcher(
        setup.backend,
        setup.device,
        Batching(settings.batch_size, options.batch_wait_ms / 1e3, options.max_input_length),
        metrics,
    )
    served = Served(
        setup.model.name, modeltest.__version__, options.max_output_length, int(time.time())
    )
    service = Service(served, batcher, clips, Admission(options.max_requests), metrics)
    return service, batcher


def _say_ready(setup: _Setup) -> None:
    from modeltest.service.server import is_loopback, url_of

    settings, url = setup.model.settings, url_of(setup.bound)
    _say(
        f"serving {setup.model.name} on {url} ({setup.device.torch_name}, {settings.in_words}, "
        f"batches of up to {settings.batch_size}{_media(setup.allowance)}); what it understands: "
        f"{url}/openapi.json"
    )
    if not is_loopback(setup.bound) and setup.key is None:
        _say("warning: whoever reaches this address can use the model; see --api-key-env")


def _media(allowance: Allowance) -> str:
    places = [f"folder {folder}" for folder in allowance.folders]
    places += [f"host {host}" for host in sorted(allowance.hosts)]
    return f", clips also from {', '.join(places)}" if places else ""


def _say(line: str) -> None:
    print(f"modeltest: {one_line(line)}", file=sys.stderr, flush=True)


def _require_extra() -> None:
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise UsageError(f"serve needs {', '.join(missing)}; run: pip install 'modeltest[service]'")


def _key(name: str | None) -> str | None:
    """The key that clients must send; it is never shown.

    Raises:
        UsageError: The variable is not set, or cannot be a key.
    """
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise UsageError(f"--api-key-env {one_line(name)}: the variable is not set, or empty")
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"--api-key-env {one_line(name)}: a key is printable ASCII on one line")
    return key


def _port(text: str) -> int:
    value = non_negative_int(text)
    if value > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be from 0 to {_MAX_PORT}: {text}")
    return value
