"""Settings, weights and clips that stand for a user's, none of them real."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in (
        "MODELTEST_CONFIG_DIR", "MODELTEST_QWEN2_AUDIO_PATH", "MODELTEST_VOCALSOUND_PATH",
        "FORCE_COLOR",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A folder that passes for a checkpoint as long as nobody loads it."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config = {"architectures": ["Qwen2AudioForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


@pytest.fixture
def clips(tmp_path) -> Path:
    """Three labelled clips of VocalSound's naming: 0.5 + 1.0 + 1.5 s."""
    folder = tmp_path / "clips"
    folder.mkdir()
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, 24_000)
    for number, name in enumerate(("f0001_0_cough", "m0002_0_sneeze", "m0003_0_sigh"), start=1):
        soundfile.write(folder / f"{name}.wav", noise[: 8_000 * number], 16_000)
    return folder
