"""What every kind of test may need: the embedded assets and the project's folder."""

import gc
import json
from pathlib import Path

import pytest

from modeltest.settings.paths import assets_dir

ROOT = Path(__file__).parents[1]


def pytest_collection_finish() -> None:
    """All test modules and their libraries are there for good: no collection looks at them.

    What is timed is preceded by a whole collection, which takes a third of a second with them.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def project() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    return assets_dir() / "qwen2_audio_tiny"


@pytest.fixture(scope="session")
def mini_clips() -> list[Path]:
    """The embedded clips in the order of their names."""
    return sorted((assets_dir() / "vocalsound_mini" / "audio_16k").glob("*.flac"))


@pytest.fixture(scope="session")
def golden_replies() -> dict[str, dict[str, str]]:
    """Prompt format → sample id → reply, made by `tools/make_golden.py`."""
    return json.loads((ROOT / "tests" / "golden" / "replies.json").read_text(encoding="utf-8"))
