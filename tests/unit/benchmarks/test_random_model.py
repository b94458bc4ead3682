import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SUPPORT = Path(__file__).parents[3] / "benchmarks/support"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", SUPPORT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


random_model = load("random_model")
clips = load("clips")


@pytest.mark.parametrize("name", ["proportional", "large"])
def test_the_shapes_have_the_7bs_balance(name: str) -> None:
    ratio = random_model.prefill_to_encoder_ratio(random_model.SHAPES[name])
    assert ratio == pytest.approx(1.1, abs=0.02)
    assert ratio == pytest.approx(
        random_model.prefill_to_encoder_ratio(random_model.SHAPES["7b"]), abs=0.02
    )


@pytest.mark.parametrize(
    ("name", "least", "most"), [("proportional", 90e6, 110e6), ("large", 400e6, 500e6)]
)
def test_the_shapes_have_their_size(name: str, least: float, most: float) -> None:
    assert least <= num_parameters(name) <= most


def test_the_7b_is_the_7b() -> None:
    assert num_parameters("7b") == 8_397_094_912


def num_parameters(name: str) -> int:
    import torch
    import transformers

    config = transformers.Qwen2AudioConfig(**random_model.config_dict(random_model.SHAPES[name]))
    with torch.device("meta"):
        model = transformers.Qwen2AudioForConditionalGeneration(config)
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_embedded_shape_is_the_embedded_models() -> None:
    config = json.loads((random_model.EMBEDDED_MODEL / "config.json").read_text("utf-8"))
    made = random_model.config_dict(random_model.SHAPES["embedded"])
    assert made == config | {"torch_dtype": "float32"}


def test_a_seed_gives_the_same_weights(tmp_path: Path) -> None:
    shape = random_model.SHAPES["embedded"]
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        random_model.write_checkpoint(shape, tmp_path / name, seed)
    one, same, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "same", "other")
    )
    assert one == same != other


def test_clips_have_vocalsounds_lengths_and_are_distinct() -> None:
    lengths_s = clips.draw_lengths_s(64, seed=0)
    assert np.mean(lengths_s) == pytest.approx(4.2, abs=0.05)
    assert min(lengths_s) >= 1.0
    assert max(lengths_s) <= 10.0
    made = clips.make_clips(lengths_s[:8], seed=1) + clips.make_clips(lengths_s[:8], seed=2)
    assert len({clip.tobytes() for clip in made}) == 16
    assert all(clip.dtype == np.float32 and np.abs(clip).max() <= 0.5 for clip in made)
