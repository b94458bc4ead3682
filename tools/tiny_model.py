"""The tiny Qwen2-Audio model: configuration, initial weights, trimmed forward passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tiny_data import MEL_BINS, AudioBatch
from tiny_text import ANSWERS, END_OF_TEXT, END_OF_TURN
from torch import nn
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
)

WIDTH = 192
HEADS = 4
LAYERS = 4
_IGNORED = -100


def build_model(tokenizer: PreTrainedTokenizerBase) -> Qwen2AudioForConditionalGeneration:
    """Returns an untrained model that fits the tokenizer."""
    end_of_text, end_of_turn, audio = tokenizer.convert_tokens_to_ids(
        [END_OF_TEXT, END_OF_TURN, "<|AUDIO|>"]
    )
    audio_config = {
        "model_type": "qwen2_audio_encoder",
        "num_mel_bins": MEL_BINS,
        "d_model": WIDTH,
        "encoder_layers": LAYERS,
        "encoder_attention_heads": HEADS,
        "encoder_ffn_dim": 4 * WIDTH,
        "max_source_positions": 1500,
    }
    text_config = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 512,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": 8192,
        "rope_theta": 10000.0,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_turn,
        "pad_token_id": end_of_text,
    }
    config = Qwen2AudioConfig(
        audio_config=audio_config,
        text_config=text_config,
        audio_token_index=audio,
        bos_token_id=end_of_text,
        eos_token_id=end_of_turn,
        pad_token_id=end_of_text,
        tie_word_embeddings=False,
        ignore_index=_IGNORED,
    )
    model = Qwen2AudioForConditionalGeneration(config)
    _initialize(model)
    model.generation_config = _sampling(end_of_text, end_of_turn)
    return model


def _sampling(end_of_text: int, end_of_turn: int) -> GenerationConfig:
    """Returns the real checkpoint's sampling defaults, which an evaluation has to override."""
    return GenerationConfig(
        bos_token_id=end_of_text,
        pad_token_id=end_of_text,
        eos_token_id=[end_of_turn, end_of_text],
        do_sample=True,
        repetition_penalty=1.1,
        temperature=0.7,
        top_k=20,
        top_p=0.5,
    )


@torch.no_grad()
def _initialize(model: Qwen2AudioForConditionalGeneration) -> None:
    """Draws initial weights; the stock classes only suit loading a checkpoint."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            fan_in = module.weight[0].numel()
            last = name.endswith(("out_proj", "fc2", "o_proj", "down_proj", "lm_head"))
            gain = (2 * LAYERS) ** -0.5 if last else 1.0
            module.weight.normal_(0.0, gain * fan_in**-0.5)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, 0.7)
    positions = model.audio_tower.embed_positions.weight
    rows, width = positions.shape
    rates = torch.exp(
        -torch.log(torch.tensor(10000.0)) * torch.arange(width // 2) / (width // 2 - 1)
    )
    angles = torch.arange(rows)[:, None] * rates
    positions.copy_(torch.cat([angles.sin(), angles.cos()], dim=1))


@contextmanager
def trimmed(model: Qwen2AudioForConditionalGeneration, rows: int) -> Iterator[None]:
    """Lets the stock encoder take 2 * `rows` frames in place of 30 s.

    Masked frames never reach the others, so that cutting them off changes nothing.
    """
    tower = model.audio_tower
    whole, whole_rows = tower.embed_positions, tower.config.max_source_positions
    tower.embed_positions = nn.Embedding(rows, WIDTH, _weight=whole.weight[:rows], _freeze=True)
    tower.config.max_source_positions = rows
    try:
        yield
    finally:
        tower.embed_positions, tower.config.max_source_positions = whole, whole_rows


def pooled_audio(model: Qwen2AudioForConditionalGeneration, batch: AudioBatch) -> torch.Tensor:
    """Returns the mean audio embedding of each clip, shape (clips, WIDTH)."""
    rows, outputs = model.audio_tower._get_feat_extract_output_lengths(batch.mask.sum(-1))
    hidden = torch.arange(batch.rows)[None, :] >= rows[:, None]
    attention = torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))
    attention = attention[:, None, None, :].expand(-1, 1, batch.rows, -1)
    with trimmed(model, batch.rows):
        states = model.audio_tower(batch.features, attention_mask=attention).last_hidden_state
    embeddings = model.multi_modal_projector(states)
    valid = (torch.arange(embeddings.shape[1])[None, :] < outputs[:, None]).float()
    return (embeddings * valid[:, :, None]).sum(1) / valid.sum(1, keepdim=True)


class AnswerTask:
    """Turns prompts and labels into left-padded token batches and scores the answers.

    Args:
        tokenizer: Encodes prompts and answers separately, as generation does.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._pad = tokenizer.pad_token_id
        self._prompts: dict[str, list[int]] = {}
        self._answers = [tokenizer(answer + END_OF_TURN).input_ids for answer in ANSWERS.values()]

    def encode(self, prompts: list[str], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns input_ids, attention_mask and labels, each of shape (clips, tokens)."""
        for prompt in set(prompts) - self._prompts.keys():
            self._prompts[prompt] = self._tokenizer(prompt).input_ids
        pairs = [
            (self._prompts[prompt], self._answers[label])
            for prompt, label in zip(prompts, labels.tolist(), strict=True)
        ]
        longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
        ids = torch.full((len(pairs), longest), self._pad)
        mask = torch.zeros((len(pairs), longest), dtype=torch.int64)
        targets = torch.full((len(pairs), longest), _IGNORED)
        for row, (question, answer) in enumerate(pairs):
            whole = torch.tensor(question + answer)
            ids[row, -len(whole) :] = whole
            mask[row, -len(whole) :] = 1
            targets[row, -len(answer) :] = torch.tensor(answer)
        return {"input_ids": ids, "attention_mask": mask, "labels": targets}

    def forward(
        self, model: Qwen2AudioForConditionalGeneration, batch: AudioBatch, prompts: list[str]
    ) -> tuple[torch.Tensor, int]:
        """Runs the stock forward pass on trimmed audio.

        Returns:
            The loss and the number of clips whose answer's letter is right.
        """
        text = self.encode(prompts, batch.labels)
        with trimmed(model, batch.rows):
            output = model(input_features=batch.features, feature_attention_mask=batch.mask, **text)
        correct = 0
        for row, label in enumerate(batch.labels.tolist()):
            answer = self._answers[label]
            letter = output.logits[row, -len(answer) - 1].argmax().item()
            correct += letter == answer[0]
        return output.loss, correct
