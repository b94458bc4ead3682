"""Honest accuracy and speed of audio language models on any accelerator.

From Python: `evaluate`, `measure` and `load_run`, which give a `Run`; see docs/python_api.md.
"""

from typing import TYPE_CHECKING, Any

from modeltest.errors import (
    AudioError,
    DataError,
    DeviceError,
    ModelError,
    ModeltestError,
    SettingsError,
    StorageError,
    UsageError,
)

if TYPE_CHECKING:
    from modeltest.api import Run, evaluate, load_run, measure

__version__ = "0.1.0"
__all__ = [
    "AudioError", "DataError", "DeviceError", "ModelError", "ModeltestError", "Run",
    "SettingsError", "StorageError", "UsageError", "evaluate", "load_run", "measure",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads the interface when it is first used: every command imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from modeltest import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
