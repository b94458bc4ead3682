"""Writes the embedded model's replies to the embedded clips: `tests/golden/replies.json`.

They come from a plain transformers loop, one clip at a time, stock 30 s, fp32 - not from
modeltest - so that the tests compare modeltest with something else. Run it only after the
embedded model or clips were replaced:

    python tools/make_golden.py --output tests/golden/replies.json
"""

from __future__ import annotations

import argparse
import inspect
import json
from pathlib import Path
from typing import Any

import soundfile
import torch
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

ASSETS = Path(__file__).parents[1] / "modeltest" / "assets"
QUESTION = (
    "In this audio, what kind of sound can you hear? A: Laughter, B: Sigh, C: Cough, "
    "D: Throat clearing, E: Sneeze, F: Sniff, Please select the one closest to the correct answer."
)
PROMPTS = {
    "raw": f"<|audio_bos|><|AUDIO|><|audio_eos|>{QUESTION} ASSISTANT:",
    "chat": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
        f"{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    ),
}


def reply_to(model: Any, processor: Any, prompt: str, clip: Path) -> str:
    """Greedy reply to one clip, 65 new tokens at most."""
    waveform, rate = soundfile.read(clip, dtype="float32")
    parameters = inspect.signature(type(processor).__call__).parameters
    keyword = "audio" if "audio" in parameters else "audios"
    inputs = processor(
        text=[prompt], **{keyword: [waveform]}, sampling_rate=rate, return_tensors="pt"
    )
    if "input_features" not in inputs:
        raise SystemExit("the processor dropped the audio")
    with torch.inference_mode():
        tokens = model.generate(
            **inputs, max_new_tokens=65, do_sample=False, num_beams=1, repetition_penalty=1.0,
            temperature=None, top_k=None, top_p=None,
        )  # fmt: skip
    new_tokens = tokens[0, inputs["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(new_tokens, skip_special_tokens=True))


def plain_loop(prompt: str, clips: list[Path]) -> dict[str, str]:
    """Replies of the embedded model, one clip at a time."""
    folder = ASSETS / "qwen2_audio_tiny"
    processor = AutoProcessor.from_pretrained(folder)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(folder).float().eval()
    return {clip.stem: reply_to(model, processor, prompt, clip) for clip in clips}


def main() -> None:
    """Writes the replies to both prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    clips = sorted((ASSETS / "vocalsound_mini" / "audio_16k").glob("*.flac"))
    replies = {name: plain_loop(prompt, clips) for name, prompt in PROMPTS.items()}
    text = json.dumps(replies, indent=1, ensure_ascii=False)
    options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
