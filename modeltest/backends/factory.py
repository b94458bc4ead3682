"""Makes the backend that a model's settings name; the imports are real and lazy."""

from __future__ import annotations

from dataclasses import replace

from modeltest.backends.service.from_settings import (
    check_service,
    make_service_backend,
    service_warnings,
)
from modeltest.backends.transformers.architecture import short_name
from modeltest.backends.transformers.model_folder import (
    FAST_ATTENTIONS,
    check_model_folder,
    why_stock,
)
from modeltest.errors import ModelError
from modeltest.protocols import Backend, Device
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings


def check_model(settings: ModelSettings, where: str) -> None:
    """Makes sure that the model can be run, before anything heavy is imported.

    Args:
        settings: The model's settings.
        where: The settings file and line of `model_path`, for the message.

    Raises:
        ModelError: With what is wrong and what to do.
    """
    if settings.backend == "transformers":
        check_model_folder(settings.model_path, where)
    if settings.is_service:
        check_service(settings, where)


def checked_model(model: Loaded[ModelSettings]) -> Loaded[ModelSettings]:
    """The model, which can be run, with the engine that can run it.

    Raises:
        ModelError: It cannot be run, or not by the engine that was asked for.
    """
    check_model(model.settings, model.where("model_path"))
    why = _why_stock(model.settings)
    if why and "engine" in model.settings.model_fields_set and model.settings.engine != "stock":
        raise ModelError(
            f"engine {model.settings.engine} cannot be had: {why}; leave it out, or take stock"
        )
    if model.settings.engine == "stock" or not (why or _why_no_masks(model.settings)):
        return model
    return replace(model, settings=model.settings.model_copy(update={"engine": "stock"}))


def model_warnings(settings: ModelSettings) -> tuple[str, ...]:
    """What a user should know before a checked model is asked; a line each."""
    if settings.is_service:
        return service_warnings(settings)
    why = _why_stock(settings) or _why_no_masks(settings)
    return (f"engine stock: {why}",) if why else ()


def is_another_architecture(settings: ModelSettings) -> bool:
    """Whether only transformers knows a checked model's modules, and not modeltest."""
    return bool(_why_stock(settings))


def refuse_parity(settings: ModelSettings) -> None:
    """Makes sure that a checked model has stages that parity can compare, or is a service's.

    Raises:
        ModelError: Nobody knows its stages.
    """
    if is_another_architecture(settings):
        raise ModelError(
            f"parity compares the stages of Qwen2-Audio, this is {_name(settings)}; evaluate it "
            "twice and take modeltest compare"
        )


def refuse_ranks(settings: ModelSettings, tp: int) -> None:
    """Makes sure that a checked model can be split over ranks, or that there is one only.

    Raises:
        ModelError: Nobody knows which of its parts could.
    """
    if tp > 1 and is_another_architecture(settings):
        raise ModelError(
            f"--tp {tp} splits Qwen2-Audio's layers, this is {_name(settings)}; leave it out"
        )


def _name(settings: ModelSettings) -> str:
    return short_name(settings.model_path) if settings.model_path else ""


def _why_stock(settings: ModelSettings) -> str:
    if settings.backend != "transformers" or settings.model_path is None:
        return ""
    return why_stock(settings.model_path)


def _why_no_masks(settings: ModelSettings) -> str:
    if settings.backend != "transformers" or settings.attention in FAST_ATTENTIONS:
        return ""
    return f"the fast engine makes masks for {' and '.join(FAST_ATTENTIONS)} alone"


def make_backend(
    settings: ModelSettings, seed: int, device: Device, tp: int = 1, *, measuring: bool = False
) -> Backend:
    """Makes the backend; loads the processor but no weights, contacts no service.

    Args:
        settings: The model's settings, command-line options applied; checked.
        seed: Seeds the backend's random numbers.
        device: Where the model goes.
        tp: Tensor-parallel ranks, of which this process is one.
        measuring: Its speed is measured: a service is asked once and streams its replies.

    Raises:
        ModelError: The model cannot be used, or not by so many ranks.
    """
    if settings.backend == "null":
        if tp > 1:
            raise ModelError(f"--tp {tp}: the null backend has no model to split; leave it out")
        from modeltest.backends.null import NullBackend

        return NullBackend(device)
    if settings.is_service:
        return make_service_backend(settings, seed, measuring)
    from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings

    if settings.model_path is None:
        raise ModelError("model_path is not set")
    refuse_ranks(settings, tp)
    chosen = TransformersSettings(
        settings.model_path, settings.data_type, settings.attention, settings.engine, seed, tp
    )
    return TransformersBackend(chosen, device)


def follow_first_rank(settings: ModelSettings, seed: int, device: Device, tp: int) -> None:
    """Computes along with rank 0 of a tensor-parallel model until that one closes its backend.

    Args:
        settings: Rank 0's.
        seed: Rank 0's.
        device: Of this rank.
        tp: Ranks.

    Raises:
        ModelError: The model cannot be used.
        DeviceError: This rank failed, or another one.
    """
    from modeltest.backends.transformers.backend import TransformersBackend

    backend = make_backend(settings, seed, device, tp)
    if isinstance(backend, TransformersBackend):
        backend.follow()
