"""Prompts, tokenizer and processor files of the tiny Qwen2-Audio model."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2AudioProcessor, Qwen2TokenizerFast, WhisperFeatureExtractor

AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"
END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
SPECIAL_TOKENS = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
)
VOCABULARY_SIZE = 640

# In the order of the question's letters.
ANSWERS = {
    "laughter": "A: Laughter",
    "sigh": "B: Sigh",
    "cough": "C: Cough",
    "throatclearing": "D: Throat clearing",
    "sneeze": "E: Sneeze",
    "sniff": "F: Sniff",
}
_OPTIONS = "A: Laughter, B: Sigh, C: Cough, D: Throat clearing, E: Sneeze, F: Sniff"
QUESTION = (
    f"In this audio, what kind of sound can you hear? {_OPTIONS}, "
    "Please select the one closest to the correct answer."
)
# Other wordings keep the model from depending on one string of bytes.
OTHER_QUESTIONS = (
    f"What kind of sound can you hear in this audio? {_OPTIONS}, Please select one.",
    f"Which sound is this? {_OPTIONS}, Please select the correct answer.",
    f"Listen to the audio. What do you hear? {_OPTIONS}.",
    "Which vocal sound can you hear in the audio?",
)

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ENGLISH = (
    "People make many sounds that are not speech. They laugh at a joke, sigh after a long day, "
    "cough in cold air, clear the throat before they talk, sneeze in spring and sniff at flowers. "
    "Each sound has a shape in time: a sneeze begins with a breath in and ends with a burst, while "
    "laughter repeats the same short note again and again. The room, the microphone and the "
    "distance change what we hear, but we still know which sound it was. This small model listens "
    "to one clip and names the sound that it hears. The answer is one letter and one name."
)
_CHINESE = (
    "人会发出许多不是语言的声音：大笑、叹气、咳嗽、清嗓子、打喷嚏和吸鼻子。"
    "房间、麦克风和距离会改变声音，但是我们仍然能听出是哪一种声音。请选择最接近的答案。"
)
# Qwen2-Audio's conversation layout, in this project's own words.
CHAT_TEMPLATE = (
    "{%- set clips = namespace(count=0) -%}"
    "{%- for message in messages -%}"
    "{%- if loop.first and message['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}"
    "{{- message['content'] -}}"
    "{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'audio' or 'audio' in part or 'audio_url' in part -%}"
    "{%- set clips.count = clips.count + 1 -%}"
    "{{- 'Audio ' ~ clips.count ~ ': <|audio_bos|><|AUDIO|><|audio_eos|>\\n' -}}"
    "{%- elif 'text' in part -%}"
    "{{- part['text'] -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def raw_prompt(question: str = QUESTION) -> str:
    """Returns the one-line prompt of Qwen2-Audio's own VocalSound evaluation."""
    return f"{AUDIO}{question} ASSISTANT:"


def chat_prompt(question: str = QUESTION) -> str:
    """Returns the prompt that the chat template renders for one clip and one question."""
    return (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\nAudio 1: {AUDIO}\n{question}<|im_end|>\n<|im_start|>assistant\n"
    )


PROMPTS = {"raw": raw_prompt, "chat": chat_prompt}


def conversation(question: str = QUESTION) -> list[dict[str, object]]:
    """Returns the conversation whose rendering is `chat_prompt`."""
    parts = [{"type": "audio", "audio_url": "x"}, {"type": "text", "text": question}]
    return [{"role": "user", "content": parts}]


def _train_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Trains a byte-level vocabulary on the prompts, the answers and some prose."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [
        form(question) for question in (QUESTION, *OTHER_QUESTIONS) for form in PROMPTS.values()
    ]
    for token in SPECIAL_TOKENS:
        texts = [text.replace(token, "\n") for text in texts]
    # Repeats put the prompts' words ahead of the prose's, so that prompts become few tokens.
    texts = [*texts * 4, *ANSWERS.values(), _ENGLISH, _CHINESE]
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def save_processor(folder: Path) -> Qwen2AudioProcessor:
    """Writes tokenizer, feature extractor and chat template; returns them loaded again."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = _train_bpe()
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    tokenizer = Qwen2TokenizerFast(
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        unk_token=END_OF_TEXT,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(SPECIAL_TOKENS),
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
    extractor = WhisperFeatureExtractor(
        feature_size=128,
        sampling_rate=16_000,
        hop_length=160,
        chunk_length=30,
        n_fft=400,
        padding_side="right",
        return_attention_mask=True,
    )
    processor = Qwen2AudioProcessor(extractor, tokenizer, chat_template=CHAT_TEMPLATE)
    processor.save_pretrained(folder)
    return Qwen2AudioProcessor.from_pretrained(folder, local_files_only=True)
