"""Qwen2-Audio checkpoints with random weights, in sizes that a benchmark can afford.

Shapes:
    embedded: The embedded model's own configuration.
    proportional: About 100 million parameters with the 7B's balance of work: for 5 s of audio and
        the VocalSound prompt, 30 s of encoder (stock) to the language model's prefill (all
        logits) is 1 : 1.10 in both. The output layer has the 7B's share of the prefill too.
    large: The same balance with over 400 million parameters, in bf16.
    7b: Qwen2-Audio-7B; for devices that can hold it.

Formulas: two FLOPs per weight and position in linear layers; 4·S²·width per layer for attention,
half of it where it is causal; convolutions with kernel 3 over 3000 and 1500 positions.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EMBEDDED_MODEL = Path(__file__).parents[2] / "modeltest/assets/qwen2_audio_tiny"
PROMPT = (
    "<|audio_bos|><|AUDIO|><|audio_eos|>In this audio, what kind of sound can you hear? "
    "A: Laughter, B: Sigh, C: Cough, D: Throat clearing, E: Sneeze, F: Sniff, Please select "
    "the one closest to the correct answer. ASSISTANT:"
)
NUM_PROMPT_TOKENS = 51  # PROMPT without its audio token, by the embedded model's tokenizer
NUM_ORDINARY_TOKENS = 634  # of the embedded model's tokenizer; the special ones come behind
NUM_POSITIONS, NUM_MELS, NUM_AUDIO_TOKENS_5S = 1500, 128, 125
_PROCESSOR_FILES = (
    "added_tokens.json", "chat_template.json", "generation_config.json", "merges.txt",
    "preprocessor_config.json", "special_tokens_map.json", "tokenizer.json",
    "tokenizer_config.json", "vocab.json",
)  # fmt: skip
# Wide scores make attention choose, so that replies depend on the clip.
_QUERY_GAIN = 3.0


@dataclass(frozen=True, slots=True)
class Stack:
    """A transformer: width, layers, attention heads and width of the feed-forward layers."""

    width: int
    layers: int
    heads: int
    feed_forward: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model.

    Attributes:
        encoder: Two matrices per feed-forward layer.
        language: Three matrices per feed-forward layer.
        vocabulary: Rows of the embedding and of the output layer, which are not tied.
        data_type: What it is run in: `fp32` or `bf16`.
    """

    name: str
    encoder: Stack
    language: Stack
    vocabulary: int
    data_type: str

    @property
    def torch_dtype(self) -> str:
        """Torch's name of `data_type`."""
        return {"fp32": "float32", "bf16": "bfloat16"}[self.data_type]


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("embedded", Stack(192, 4, 4, 768), Stack(192, 4, 4, 512), 640, "fp32"),
        Shape("proportional", Stack(384, 3, 6, 1536), Stack(768, 11, 6, 2176), 10_048, "fp32"),
        Shape("large", Stack(640, 6, 10, 2560), Stack(1280, 18, 10, 3584), 30_016, "bf16"),
        Shape("7b", Stack(1280, 32, 20, 5120), Stack(4096, 32, 32, 11_008), 156_032, "bf16"),
    )
}


def encoder_flops(shape: Shape, num_positions: int = NUM_POSITIONS) -> float:
    """Convolutions, encoder layers and projector for one clip."""
    stack = shape.encoder
    weights = stack.layers * (4 * stack.width**2 + 2 * stack.width * stack.feed_forward)
    convolutions = 2 * (3 * NUM_MELS * stack.width) + 3 * stack.width**2
    projector = stack.width * shape.language.width * (num_positions // 2)
    attention = 4 * num_positions**2 * stack.width * stack.layers
    return 2.0 * (num_positions * (weights + convolutions) + projector) + attention


def prefill_flops(shape: Shape, num_tokens: int, num_logits: int) -> float:
    """Language model on one prompt, with the logits of `num_logits` positions."""
    stack = shape.language
    weights = stack.layers * (4 * stack.width**2 + 3 * stack.width * stack.feed_forward)
    attention = 2 * num_tokens**2 * stack.width * stack.layers
    head = num_logits * stack.width * shape.vocabulary
    return 2.0 * (num_tokens * weights + head) + attention


def prefill_to_encoder_ratio(shape: Shape) -> float:
    """Stock prefill FLOPs per stock encoder FLOPs, for 5 s of audio and `PROMPT`."""
    num_tokens = NUM_AUDIO_TOKENS_5S + NUM_PROMPT_TOKENS
    return prefill_flops(shape, num_tokens, num_tokens) / encoder_flops(shape)


def config_dict(shape: Shape) -> dict[str, Any]:
    """The model's `config.json`: the embedded model's with the shape's sizes."""
    config: dict[str, Any] = json.loads((EMBEDDED_MODEL / "config.json").read_text("utf-8"))
    audio, text = config["audio_config"], config["text_config"]
    audio |= {
        "d_model": shape.encoder.width,
        "encoder_attention_heads": shape.encoder.heads,
        "encoder_ffn_dim": shape.encoder.feed_forward,
        "encoder_layers": shape.encoder.layers,
        "num_hidden_layers": shape.encoder.layers,
    }
    text |= {
        "hidden_size": shape.language.width,
        "intermediate_size": shape.language.feed_forward,
        "num_attention_heads": shape.language.heads,
        "num_hidden_layers": shape.language.layers,
        "num_key_value_heads": shape.language.heads,
        "vocab_size": shape.vocabulary,
    }
    return config | {"torch_dtype": shape.torch_dtype}


def make_model(shape: Shape, device: str = "cpu", seed: int = 0) -> Any:
    """A `Qwen2AudioForConditionalGeneration` that is born on the device in its precision."""
    import torch
    import transformers

    config = transformers.Qwen2AudioConfig(**config_dict(shape))
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, shape.torch_dtype))
    try:
        with torch.device(device):
            model = transformers.Qwen2AudioForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    fill_with_random_weights(model, device, seed)
    return model.eval()


def fill_with_random_weights(model: Any, device: str, seed: int) -> None:
    """Seeded weights under which activations keep their scale and replies depend on the clip.

    Special tokens and rows that the tokenizer does not know have zero logits, so that no reply
    ends early or holds what cannot be read.
    """
    import torch

    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.fill_(1.0 if name.endswith("norm.weight") else 0.0)
                continue
            weight.normal_(0.0, _deviation(name, weight.shape), generator=generator)
            if name.endswith("lm_head.weight"):
                weight[NUM_ORDINARY_TOKENS:] = 0.0


def _deviation(name: str, shape: Any) -> float:
    if "embed_positions" in name:
        return 0.1
    if "embed_tokens" in name:
        return 1.0
    gain = _QUERY_GAIN if "q_proj" in name else 1.0
    return gain / math.sqrt(math.prod(shape[1:]))


def write_checkpoint(shape: Shape, folder: Path, seed: int = 0) -> int:
    """Writes weights, configuration and the embedded model's processor files.

    Returns:
        The number of parameters.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model = make_model(shape, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True)
    config = json.dumps(config_dict(shape), indent=2) + "\n"
    (folder / "config.json").write_text(config, encoding="utf-8")
    for name in _PROCESSOR_FILES:
        shutil.copyfile(EMBEDDED_MODEL / name, folder / name)
    return sum(parameter.numel() for parameter in model.parameters())
