"""What a batch costs a Qwen2-Audio model: floating-point operations and bytes, by stage.

Pure arithmetic on the model's configuration; loads no torch. A multiplication and its addition
are two operations, as in torch.utils.flop_counter, against which the tests hold these formulas.
Normalisation, activations, softmax, pooling and rotary embedding are left out, by the counter
too: together they are below 1 %.

The formulas follow from the layers of transformers' `modeling_qwen2_audio.py` and
`modeling_qwen2.py`; a matrix product costs as in Kaplan et al. 2020 (arXiv:2001.08361, table 1),
2 operations per weight and position.

Symbols: f mel frames of a clip, T = ⌊(f−1)/2⌋+1 encoder positions, P = ⌊(T−2)/2⌋+1 audio tokens,
d and m the encoder's width and its feed-forward width, b mel bins, E encoder layers; S positions
of a prompt, h and i the language model's width and its feed-forward width, q and k the widths of
all query and of all key heads, L its layers, V its vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.backends.transformers.trim import FRAMES_PER_POSITION, positions_needed
from modeltest.records import StageWork

_KERNEL_WIDTH = 3  # of both convolutions


@dataclass(frozen=True, slots=True)
class BatchShape:
    """Lengths of a batch, one entry per request.

    Attributes:
        frames: Mel frames that hold audio, of each clip of each request.
        text_tokens: Tokens of the prompt, audio positions left out.
        output_tokens: New tokens, the end token included; at least 1.
    """

    frames: Sequence[Sequence[int]]
    text_tokens: Sequence[int]
    output_tokens: Sequence[int]

    @property
    def clip_frames(self) -> list[int]:
        """Mel frames of all clips, `(clips,)`."""
        return [frames for clips in self.frames for frames in clips]

    @property
    def prompt_positions(self) -> list[int]:
        """Positions that enter the language model, audio included, `(requests,)`."""
        return [
            text + sum(_audio_tokens(frames) for frames in clips)
            for text, clips in zip(self.text_tokens, self.frames, strict=True)
        ]


def batch_work(
    config: Any, shape: BatchShape, bytes_per_value: int, fast: bool
) -> dict[str, StageWork]:
    """Work of one batch in the stages `encoder`, `prefill` and `decode` (all steps together).

    `useful_flops` counts each clip's own frames, each prompt's own positions with causal
    attention, one position's logits and last layer behind its attention per prompt, and each
    reply up to its own end.
    `executed_flops` counts what the engine runs through: every clip at the encoder's common
    length, every prompt left-padded to the longest, attention as the full square that is
    masked afterwards, and every row up to the longest reply's end. So the difference is
    padding, the masked half of the attention and unused logits. A kernel that skips masked
    blocks executes less than that.

    `num_bytes` is what must be read at least: the weights once per stage, in `decode` once per
    step, where each row's keys and values are read as well. The table of input embeddings is
    looked up, not streamed, so it is left out.

    Args:
        config: A Qwen2AudioConfig, with `audio_config` and `text_config`.
        shape: Lengths of the batch.
        bytes_per_value: Size of a weight and of a cached value.
        fast: The fast engine: encoder on the longest clip's length (`trim.positions_needed`),
            projector on the audio tokens alone, logits and what comes behind the last
            layer's attention on the prompt's last position only.
            Otherwise stock: encoder and projector on 30 s, logits of all positions.
    """
    return {
        "encoder": _encoder_work(config, shape, bytes_per_value, fast),
        "prefill": _prefill_work(config, shape, bytes_per_value, fast),
        "decode": _decode_work(config, shape, bytes_per_value),
    }


def _encoder_work(config: Any, shape: BatchShape, bytes_per_value: int, fast: bool) -> StageWork:
    clips = shape.clip_frames
    if not clips:
        return StageWork(0.0, 0.0, 0.0)
    positions = config.audio_config.max_source_positions
    if fast:
        positions = positions_needed(max(clips), positions)
    padded = positions * FRAMES_PER_POSITION
    own_tokens = sum(_audio_tokens(frames) for frames in clips)
    tokens = own_tokens if fast else _audio_tokens(padded) * len(clips)
    useful = sum(_encoder_flops(config, frames) for frames in clips)
    executed = _encoder_flops(config, padded) * len(clips)
    return StageWork(
        useful_flops=float(useful + _projector_flops(config, own_tokens)),
        executed_flops=float(executed + _projector_flops(config, tokens)),
        num_bytes=float(_encoder_values(config, positions) * bytes_per_value),
    )


def _prefill_work(config: Any, shape: BatchShape, bytes_per_value: int, fast: bool) -> StageWork:
    text = _TextShape.of(config.text_config)
    prompts = shape.prompt_positions
    padded = max(prompts)
    useful = sum(
        text.flops(positions, positions * (positions + 1) // 2, logits=1)
        - text.last_layer_flops * (positions - 1)
        for positions in prompts
    )
    row = text.flops(padded, padded**2, logits=1 if fast else padded)
    if fast:
        row -= text.last_layer_flops * (padded - 1)
    executed = row * len(prompts)
    return StageWork(float(useful), float(executed), float(text.num_values * bytes_per_value))


def _decode_work(config: Any, shape: BatchShape, bytes_per_value: int) -> StageWork:
    text = _TextShape.of(config.text_config)
    prompts = shape.prompt_positions
    # The prefill brings the first new token.
    steps = [tokens - 1 for tokens in shape.output_tokens]
    attended = [_attended(*row) for row in zip(prompts, steps, strict=True)]
    longest = max(steps)
    padded = text.flops(longest, _attended(max(prompts), longest), logits=longest)
    read = longest * text.num_values + sum(attended) * text.num_cached_values
    return StageWork(
        useful_flops=float(
            sum(text.flops(n, pairs, n) for n, pairs in zip(steps, attended, strict=True))
        ),
        executed_flops=float(padded * len(prompts)),
        num_bytes=float(read * bytes_per_value),
    )


def _attended(prompt: int, steps: int) -> int:
    """Positions attended in all steps: step j sees the prompt and the j tokens behind it."""
    return steps * prompt + steps * (steps + 1) // 2


def _encoder_positions(frames: int) -> int:
    return (frames - 1) // 2 + 1


def _audio_tokens(frames: int) -> int:
    return (_encoder_positions(frames) - 2) // 2 + 1


def _encoder_flops(config: Any, frames: int) -> int:
    """Operations of one clip: 6d(b·f + d·T) + E(2T(4d² + 2dm) + 4dT²).

    Convolutions, then layers: projections, feed-forward, attention both ways. For
    Qwen2-Audio-7B 11.8e6·T + 1.258e9·T + 163840·T².
    """
    audio = config.audio_config
    width, positions = audio.d_model, _encoder_positions(frames)
    convolutions = 2 * _KERNEL_WIDTH * width * (audio.num_mel_bins * frames + width * positions)
    linear = 2 * positions * (4 * width**2 + 2 * width * audio.encoder_ffn_dim)
    attention = 4 * width * positions**2
    return int(convolutions + audio.encoder_layers * (linear + attention))


def _projector_flops(config: Any, tokens: int) -> int:
    """Operations for so many audio tokens: 2P·d·h, for Qwen2-Audio-7B 10.5e6·P."""
    return int(2 * tokens * config.audio_config.d_model * config.text_config.hidden_size)


def _encoder_values(config: Any, positions: int) -> int:
    """Weights of encoder and projector, biases and norms included; keys have no bias."""
    audio, hidden = config.audio_config, config.text_config.hidden_size
    width, wide = audio.d_model, audio.encoder_ffn_dim
    convolutions = _KERNEL_WIDTH * width * (audio.num_mel_bins + width) + 2 * width
    attention = 4 * width**2 + 3 * width
    feed_forward = 2 * width * wide + wide + width
    layer = attention + feed_forward + 4 * width
    projector = width * hidden + hidden
    layers = audio.encoder_layers * layer
    return int(convolutions + positions * width + layers + 2 * width + projector)


@dataclass(frozen=True, slots=True)
class _TextShape:
    """Sizes of a Qwen2 language model with its head; see the symbols above."""

    hidden: int
    feed_forward: int
    query: int
    key: int
    layers: int
    vocabulary: int

    @classmethod
    def of(cls, text: Any) -> _TextShape:
        heads = text.num_attention_heads
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
        return cls(
            hidden=text.hidden_size,
            feed_forward=text.intermediate_size,
            query=heads * head_dim,
            key=text.num_key_value_heads * head_dim,
            layers=text.num_hidden_layers,
            vocabulary=text.vocab_size,
        )

    @property
    def _layer_matrices(self) -> int:
        projections = self.hidden * (2 * self.query + 2 * self.key)
        return projections + 3 * self.hidden * self.feed_forward

    @property
    def last_layer_flops(self) -> int:
        """Operations of a position in the last layer behind its attention: 2(qh + 3hi)."""
        return 2 * (self.query * self.hidden + 3 * self.hidden * self.feed_forward)

    @property
    def num_values(self) -> int:
        """Weights that each pass reads: layers, last norm, head; no input embeddings."""
        biases_and_norms = self.query + 2 * self.key + 2 * self.hidden
        layers = self.layers * (self._layer_matrices + biases_and_norms)
        return layers + self.hidden + self.hidden * self.vocabulary

    @property
    def num_cached_values(self) -> int:
        """Keys and values of one position in all layers."""
        return 2 * self.key * self.layers

    def flops(self, positions: int, attended: int, logits: int) -> int:
        """Operations: positions·2L(2hq + 2hk + 3hi) + attended·4qL + logits·2hV.

        For Qwen2-Audio-7B 12.952e9, 524288 and 1.278e9 each.

        Args:
            positions: Positions that run through the layers.
            attended: Pairs of a query's and a key's position.
            logits: Positions whose logits are computed.
        """
        linear = 2 * self.layers * self._layer_matrices * positions
        attention = 4 * self.query * self.layers * attended
        return linear + attention + 2 * self.hidden * self.vocabulary * logits
