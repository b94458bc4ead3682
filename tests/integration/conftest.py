"""The embedded model, loaded once for all integration tests."""

import pytest
import torch

from modeltest.audio.decode import decode
from modeltest.backends.transformers import inputs
from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.backends.transformers.engines import FastEngine
from modeltest.backends.transformers.fast import Limits
from modeltest.backends.transformers.stages import StageClock
from modeltest.devices.cpu import CpuDevice
from modeltest.records import Audio, AudioSource, Request
from modeltest.settings.load import load_task
from modeltest.tasks.factory import make_task


@pytest.fixture(scope="session")
def make_backend(tiny_model):
    def make(data_type="fp32", attention="sdpa", engine="fast", path=tiny_model):
        backend = TransformersBackend(
            TransformersSettings(path, data_type, attention, engine), CpuDevice()
        )
        backend.load()
        return backend

    return make


@pytest.fixture(scope="session")
def backend(make_backend):
    return make_backend()


@pytest.fixture(scope="session")
def task():
    loaded = load_task("vocalsound_mini")
    return make_task(loaded.name, loaded.settings)


@pytest.fixture(scope="session")
def chat_task():
    loaded = load_task("vocalsound_mini", ["prompt_format=chat"])
    return make_task(loaded.name, loaded.settings)


@pytest.fixture(scope="session")
def ask(task):
    """Requests of a task for clips: files or waveforms."""

    def make(clips, of=task):
        requests = []
        for number, clip in enumerate(clips):
            audio = clip
            if not isinstance(clip, Audio):
                audio = decode(AudioSource(clip.name, path=clip), 16_000)
            requests.append(Request(f"s{number}", (audio,), of.prompt(), of.generation()))
        return requests

    return make


@pytest.fixture(scope="session")
def plain_inputs(backend):
    """What transformers' own processor makes of requests: 30 s of features per clip."""

    def make(requests):
        texts = [backend.render(request.prompt, len(request.audio)) for request in requests]
        return dict(inputs.encode(backend.processor, texts, requests))

    return make


@pytest.fixture(scope="session")
def plain_logits(backend, plain_inputs):
    """Logits of the first new token, (requests, vocabulary), by the model's own forward."""

    def make(requests):
        with torch.inference_mode():
            return backend.model(**plain_inputs(requests)).logits[:, -1]

    return make


@pytest.fixture(scope="session")
def engine(backend):
    engine = FastEngine(backend.processor, CpuDevice(), 0)
    engine.attach(backend.model)
    return engine


@pytest.fixture(scope="session")
def fast_logits(backend, engine):
    """Logits of the first new token by the fast engine, (requests, vocabulary)."""

    def make(requests):
        texts = [backend.render(request.prompt, len(request.audio)) for request in requests]
        clock = StageClock(CpuDevice())
        with torch.inference_mode():
            prepared = engine.prepare(texts, requests)
            return engine.generate(prepared, Limits(1), clock).first_logits

    return make
