"""Makes the backend that a model's settings name; the imports are real and lazy."""

from __future__ import annotations

from pathlib import Path

from modeltest.backends.transformers.model_folder import check_model_folder
from modeltest.protocols import Backend, Device
from modeltest.settings.schema import ModelSettings


def check_model(settings: ModelSettings, where: str) -> Path:
    """Makes sure that the model can be run, before anything heavy is imported.

    Args:
        settings: The model's settings.
        where: The settings file, for the message.

    Returns:
        The checkpoint's folder.

    Raises:
        ModelError: With what is wrong and what to do.
    """
    return check_model_folder(settings.model_path, where)


def make_backend(settings: ModelSettings, model_path: Path, seed: int, device: Device) -> Backend:
    """Makes the in-process backend; loads the processor but no weights.

    Args:
        settings: The model's settings, command-line options applied.
        model_path: What `check_model` returned.
        seed: Seeds the backend's random numbers.
        device: Where the model goes.
    """
    from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings

    chosen = TransformersSettings(
        model_path, settings.data_type, settings.attention, settings.engine, seed
    )
    return TransformersBackend(chosen, device)
