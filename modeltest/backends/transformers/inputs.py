"""From requests to model inputs, on both generations of transformers' processor, checked.

transformers up to 4.47 takes `audios=` and lets the model expand the one audio token per
clip; from 4.48 the processor expands it, and from 4.55 `audios=` is dropped without an
error. So what was asked for is compared with what came out, batch by batch.

Shape suffixes: B requests, C clips, M mel bins, F mel frames, T tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from modeltest.backends.transformers.chat_template import render_bounded
from modeltest.errors import ModelError, SettingsError
from modeltest.records import AUDIO_PLACEHOLDER, Prompt, Request

AUDIO_TOKEN = "<|AUDIO|>"
AUDIO_TAGS = f"<|audio_bos|>{AUDIO_TOKEN}<|audio_eos|>"


def render(processor: Any, prompt: Prompt, num_clips: int) -> str:
    """The input text with one unexpanded audio token per clip.

    In a chat nobody but the template writes control tokens: in a question they are refused, in
    an earlier reply, which may be spelled like one, they are spaced out.

    Raises:
        SettingsError: The prompt brings audio tokens or, in a chat, control tokens of its own;
            or a raw prompt has earlier turns.
        ModelError: The checkpoint's chat template fails, hangs or makes too much text.
    """
    text = _raw(prompt) if prompt.format == "raw" else chat_text(processor, prompt, num_clips)
    if text.count(AUDIO_TOKEN) != num_clips:
        raise SettingsError(
            f"the prompt holds {text.count(AUDIO_TOKEN)} audio tokens for {num_clips} clips; "
            f"leave {AUDIO_TOKEN} out of task.prompt and task.raw_prompt"
        )
    return text


def _raw(prompt: Prompt) -> str:
    if prompt.turns:
        raise SettingsError("a raw prompt has no earlier turns; ask in the chat format")
    return prompt.text.replace(AUDIO_PLACEHOLDER, AUDIO_TAGS)


def chat_text(processor: Any, prompt: Prompt, num_clips: int, inline_token: str = "") -> str:
    """A conversation as the checkpoint's chat template renders it.

    Args:
        processor: Of the checkpoint.
        prompt: In the chat format.
        num_clips: Clips of all turns.
        inline_token: For templates that take texts alone: the audio token, which is put in
            front of a question once for each clip.

    Raises:
        SettingsError: A question holds a control token.
        ModelError: The template fails, hangs or makes too much text.
    """
    added = processor.tokenizer.added_tokens_decoder.values()
    control = [token.content for token in added if token.special]
    conversation: list[dict[str, Any]] = []
    for turn in prompt.turns:
        conversation += [
            _question(turn.text, turn.num_clips, control, inline_token),
            {"role": "assistant", "content": _spaced_out(turn.reply, control)},
        ]
    num_left = num_clips - sum(turn.num_clips for turn in prompt.turns)
    conversation.append(_question(prompt.text, num_left, control, inline_token))
    return render_bounded(
        lambda: str(
            processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        )
    )


def _question(
    text: str, num_clips: int, control: Sequence[str], inline_token: str
) -> dict[str, Any]:
    """A user's message: clips, then text."""
    for token in control:
        if token in text:
            raise SettingsError(f"the question holds {token}, a control token; leave it out")
    if inline_token:
        return {"role": "user", "content": inline_token * num_clips + text}
    clips = [{"type": "audio", "audio_url": "clip"} for _ in range(num_clips)]
    return {"role": "user", "content": [*clips, {"type": "text", "text": text}]}


def _spaced_out(reply: str, control: Sequence[str]) -> str:
    """A reply with a space in each control token, which is then only text."""
    for token in control:
        reply = reply.replace(token, f"{token[0]} {token[1:]}")
    return reply


def encode(processor: Any, texts: Sequence[str], requests: Sequence[Request]) -> Any:
    """Token ids, masks and log-mel features of a batch, left-padded, on the host.

    Args:
        processor: A Qwen2AudioProcessor.
        texts: The rendered inputs, one per request.
        requests: The requests, whose clips are at the processor's rate.

    Returns:
        A BatchFeature with input_ids (B, T), attention_mask (B, T), input_features
        (C, M, F) and feature_attention_mask (C, F).

    Raises:
        ModelError: The clips did not arrive whole in the inputs.
    """
    waveforms = [clip.waveform for request in requests for clip in request.audio]
    parameters = inspect.signature(type(processor).__call__).parameters
    keyword = "audio" if "audio" in parameters else "audios"
    # Right padding would put pad tokens between a prompt and its reply.
    processor.tokenizer.padding_side = "left"
    inputs = processor(
        text=list(texts),
        **{keyword: waveforms},
        sampling_rate=processor.feature_extractor.sampling_rate,
        return_tensors="pt",
        padding=True,
    )
    check_inputs(processor, inputs, requests)
    return inputs


def check_inputs(processor: Any, inputs: Any, requests: Sequence[Request]) -> None:
    """Compares features, masks and audio tokens with the clips.

    Raises:
        ModelError: Something of the audio is missing; scores would be worthless.
    """
    import transformers

    clips = [clip for request in requests for clip in request.audio]
    release = f"transformers {transformers.__version__}"
    features = inputs.get("input_features")
    mask = inputs.get("feature_attention_mask")
    if features is None or mask is None or len(features) != len(clips):
        found = 0 if features is None else len(features)
        raise ModelError(f"{release} dropped audio: {len(clips)} clips in, {found} out")
    hop = processor.feature_extractor.hop_length
    expected_frames = [-(-len(clip.waveform) // hop) for clip in clips]
    if mask.sum(-1).tolist() != expected_frames:
        raise ModelError(
            f"{release} changed the clips' lengths: expected {expected_frames} mel frames, "
            f"found {mask.sum(-1).tolist()}"
        )
    audio_id = processor.tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
    found_tokens = (inputs["input_ids"] == audio_id).sum(-1).tolist()
    expanded, unexpanded = expected_audio_tokens(requests, hop)
    if found_tokens not in (expanded, unexpanded):
        raise ModelError(f"{release} made {found_tokens} audio tokens; the clips need {expanded}")
    if not bool(inputs["attention_mask"][:, -1].all()):
        raise ModelError(f"{release} padded on the right, which changes the replies")


def num_audio_tokens(num_samples: int, hop: int) -> int:
    """Audio tokens of a clip.

    The encoder halves the frames twice: a convolution of stride 2, then average pooling
    (transformers, `_get_feat_extract_output_lengths` of Qwen2AudioEncoder).
    """
    frames = -(-num_samples // hop)
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def expected_audio_tokens(requests: Sequence[Request], hop: int) -> tuple[list[int], list[int]]:
    """Audio tokens per request after and before expansion."""
    expanded = [
        sum(num_audio_tokens(len(clip.waveform), hop) for clip in request.audio)
        for request in requests
    ]
    return expanded, [len(request.audio) for request in requests]
