"""Backends that ask a server of the tests, and requests for them."""

from __future__ import annotations

import numpy as np

from modeltest.backends.factory import make_backend
from modeltest.backends.service.backend import ServiceBackend
from modeltest.devices.service import ServiceDevice
from modeltest.records import Audio, Generation, Prompt, Request, Turn
from modeltest.settings.schema import ModelSettings

QUESTION = "What is it?"


def service_settings(url: str, backend: str = "openai", **settings) -> ModelSettings:
    kind = "mindie" if backend == "generate" else "vllm"
    chosen = {"service": kind, "model": "m", "timeout_s": 0.8, "retries": 0, **settings}
    return ModelSettings.model_validate({"backend": backend, "base_url": url, **chosen})


def service_backend(url: str, backend: str = "openai", **settings) -> ServiceBackend:
    made = make_backend(service_settings(url, backend, **settings), 0, ServiceDevice())
    assert isinstance(made, ServiceBackend)
    return made


def clip(num_samples: int = 1600, seed: int = 0) -> Audio:
    """Noise whose samples 16-bit PCM holds exactly."""
    levels = np.random.default_rng(seed).integers(-32768, 32768, num_samples)
    return Audio((levels / 32768).astype(np.float32), 16_000, f"{seed:064x}", num_samples / 16_000)


def ask(
    sample_id: str = "s0",
    text: str = QUESTION,
    clips: tuple[Audio, ...] | None = None,
    turns: tuple[Turn, ...] = (),
    **generation,
) -> Request:
    asked = Generation(**{"max_new_tokens": 8, **generation})
    return Request(
        sample_id, (clip(),) if clips is None else clips, Prompt(text, "chat", turns), asked
    )
