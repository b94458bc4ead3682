"""The shape of the settings files: pydantic models, strict, frozen and inert.

Nothing here touches the file system, the network, the environment or a device.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from modeltest.settings.service_schema import (
    SERVED,
    SERVICES,
    HealthRoute,
    MaxConcurrency,
    RequestSettings,
    Retries,
    Seconds,
    VariableName,
    Verify,
    WebAddress,
)
from modeltest.settings.strict import PathText, Strict
from modeltest.settings.task_schema import (
    ChoiceSettings,
    LabelSettings,
    SliceSettings,
    TaskSettings,
)

__all__ = [
    "ChoiceSettings",
    "LabelSettings",
    "ModelSettings",
    "MultimodalSettings",
    "RequestSettings",
    "SliceSettings",
    "TaskSettings",
]


class MultimodalSettings(Strict):
    """`mm_model` of a model file.

    Attributes:
        warm_up_audio_path: Clips to run once before the evaluation is timed; without
            any, the first sample's clip serves.
    """

    warm_up_audio_path: tuple[PathText, ...] = Field(default=(), strict=False)


class ModelSettings(Strict):
    """One file of `config/model/`.

    Attributes:
        backend: Which backend runs the model.
        model_path: Folder of the checkpoint (config.json, safetensors, processor files).
        data_type: Precision of weights and activations.
        attention: Attention implementation of transformers.
        engine: `fast` encodes the batch's longest clip only, which is exact; `stock` is the
            processor's own features and transformers' `generate`, for reference and for
            architectures that the fast one does not know.
        batch_size: Requests per call of the backend unless `--bs` says otherwise.
        mm_model: Settings of the multimodal part.
        service: The kind of service, which decides how requests are spelled.
        base_url: Its address, with or without `/v1`.
        model: The name by which it knows the model.
        api_key_env: The environment variable that holds its API key; never the key itself.
        timeout_s: Longest wait for one whole reply, retries included, seconds.
        max_concurrency: Most requests in flight.
        retries: Further attempts where the service is busy or does not answer.
        verify: Check the server's certificate, against the usual authorities or those of a
            file; false checks nothing.
        trust_env: Take the proxy that the environment names.
        health: Routes that answer 200 when it is well; the first that exists counts.
        max_audio_s: Longest clip that its model hears whole, seconds.
        request: How requests are spelled, where the preset is not right.
    """

    backend: Literal["transformers", "null", "openai", "generate"] = "transformers"
    model_path: PathText | None = None
    data_type: Literal["bf16", "fp16", "fp32", "served"] = "bf16"
    attention: Literal["sdpa", "eager", "flash_attention_2", "served"] = "sdpa"
    engine: Literal["fast", "stock", "served"] = "fast"
    batch_size: int = Field(default=8, ge=1)
    mm_model: MultimodalSettings = MultimodalSettings()
    service: Literal["mindie", "vllm", "openai"] | None = None
    base_url: WebAddress | None = None
    model: Annotated[str, Field(min_length=1)] | None = None
    api_key_env: VariableName | None = None
    timeout_s: Seconds = 120.0
    max_concurrency: MaxConcurrency = 16
    retries: Retries = 4
    verify: Verify = True
    trust_env: bool = False
    health: tuple[HealthRoute, ...] = Field(default=(), strict=False)
    max_audio_s: Seconds = 30.0
    request: RequestSettings = RequestSettings()

    @property
    def is_service(self) -> bool:
        """Whether a service runs the model."""
        return self.backend in SERVICES

    @property
    def whereabouts(self) -> str:
        """Where the model is, for a person."""
        if self.is_service:
            return f"{self.model} at {self.base_url or 'the usual address'} ({self.backend})"
        return str(self.model_path or "no model")

    @property
    def in_words(self) -> str:
        """How it is run, for a person."""
        if self.is_service:
            return f"served, {self.timeout_s:g} s for a reply, {self.retries} retries"
        return f"{self.data_type}, attention {self.attention}, engine {self.engine}"

    @model_validator(mode="before")
    @classmethod
    def _services_choose(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("backend") in SERVICES:
            return {**dict.fromkeys(("data_type", "attention", "engine"), SERVED), **values}
        return values

    @field_validator("model_path", "data_type", "attention", "engine")
    @classmethod
    def _is_of_this_process(cls, value: Any, info: ValidationInfo) -> Any:
        backend = info.data.get("backend")
        if backend in SERVICES and value not in {None, SERVED}:
            raise ValueError(f"is for the service to decide where backend is {backend}")
        if backend not in SERVICES and value == SERVED:
            raise ValueError(f"{SERVED!r} is what a service's is called")
        return value

    @field_validator(
        "service", "base_url", "model", "api_key_env", "timeout_s", "max_concurrency", "retries",
        "verify", "trust_env", "health", "max_audio_s", "request",
    )  # fmt: skip
    @classmethod
    def _is_of_a_service(cls, value: Any, info: ValidationInfo) -> Any:
        backend, name = info.data.get("backend"), str(info.field_name)
        if backend is None or backend in SERVICES or value == cls.model_fields[name].default:
            return value
        raise ValueError(f"is a service's, and backend is {backend}")
