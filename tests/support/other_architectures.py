"""Tiny checkpoints of other architectures with random weights, as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperFeatureExtractor

WIDTH = 32
TEXT = (
    "In this audio, what kind of sound can you hear? A: Laughter, B: Sigh, C: Cough, D: Throat "
    "clearing, E: Sneeze, F: Sniff, Please select the one closest to the correct answer."
)
# Clips and texts are parts of a message.
PARTS_TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message.role }}\n"
    "{%- if message.content is string -%}{{ message.content }}{%- else -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'audio' -%}<sound>{%- else -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}<|im_end|>\n{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
)
# A message is one text; the template writes the token that the tokenizer begins texts with.
TEXT_TEMPLATE = (
    "<s>{%- for message in messages -%}{{ '[' + message.role + ']' + message.content + '</s>' }}"
    "{%- endfor -%}[assistant]"
)


def save_audio_flamingo(folder: Path, sampling_rate: int = 16_000) -> Path:
    """AudioFlamingo3: a byte-level tokenizer and a template of parts."""
    tokenizer = _byte_level("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>")
    extractor = WhisperFeatureExtractor(feature_size=16, sampling_rate=sampling_rate)
    processor = transformers.AudioFlamingo3Processor(
        extractor, tokenizer, chat_template=PARTS_TEMPLATE, audio_token="<sound>"
    )
    end, audio = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<sound>"])
    config = transformers.AudioFlamingo3Config(
        audio_config={
            "model_type": "audioflamingo3_encoder",
            "num_mel_bins": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": WIDTH,
            "hidden_size": WIDTH,
            # Of 30 s in frames of 160 samples, of which the encoder joins two.
            "max_source_positions": 30 * sampling_rate // 320,
        },
        text_config=_text("qwen2", tokenizer, end),
        audio_token_id=audio,
    )
    return _save(
        transformers.AudioFlamingo3ForConditionalGeneration, config, processor, end, folder
    )


def save_glm_asr(folder: Path) -> Path:
    """GlmAsr: a tokenizer that marks spaces and begins with `<s>`, and a template of texts."""
    tokenizer = _space_marking("<pad>", "<s>", "</s>", "<|audio|>", "<unk>")
    extractor = WhisperFeatureExtractor(feature_size=16)
    processor = transformers.GlmAsrProcessor(
        extractor, tokenizer, chat_template=TEXT_TEMPLATE, audio_token="<|audio|>"
    )
    end, audio = tokenizer.convert_tokens_to_ids(["</s>", "<|audio|>"])
    config = transformers.GlmAsrConfig(
        audio_config={
            "model_type": "glmasr_encoder",
            "num_mel_bins": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "hidden_size": WIDTH,
            "intermediate_size": 4 * WIDTH,
        },
        text_config=_text("llama", tokenizer, end),
        audio_token_id=audio,
        tie_word_embeddings=False,
    )
    return _save(transformers.GlmAsrForConditionalGeneration, config, processor, end, folder)


def _text(model_type: str, tokenizer: PreTrainedTokenizerFast, end: int) -> dict[str, object]:
    return {
        "model_type": model_type,
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": end,
        "tie_word_embeddings": False,
    }


def _save(model_class, config, processor, end: int, folder: Path) -> Path:
    """Writes a checkpoint whose own generation settings would change every reply."""
    torch.manual_seed(7)
    model = model_class(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # wide enough that replies depend on what is heard
                parameter.normal_(0.0, 1.5 * parameter[0].numel() ** -0.5)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.5, repetition_penalty=1.3, eos_token_id=end,
        pad_token_id=processor.tokenizer.pad_token_id,
    )  # fmt: skip
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _byte_level(pad: str, *special: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=special[1],
        additional_special_tokens=list(special), clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _space_marking(pad: str, begin: str, end: str, audio: str, unknown: str):
    tokenizer = Tokenizer(models.BPE(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=[pad, begin, end, audio, unknown], show_progress=False
    )
    tokenizer.train_from_iterator([TEXT, "[user] [assistant]"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=begin, eos_token=end,
        unk_token=unknown, additional_special_tokens=[audio], clean_up_tokenization_spaces=False,
    )  # fmt: skip


def change_json(file: Path, **keys: object) -> None:
    """Sets keys of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))
