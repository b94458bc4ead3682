"""Greedy generation with every setting pinned.

Checkpoints ship sampling settings of their own (Qwen2-Audio-7B-Instruct: sampling on,
repetition_penalty 1.1), and `generate` falls back on them for each setting that a caller
leaves out; some releases also for settings that equal the library's default. So the
loaded model's own generation config is replaced, not merely overridden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeltest.backends.transformers.fast import Agree, Limits, OnTokens
from modeltest.backends.transformers.stages import StageClock
from modeltest.errors import ModelError


def pinned_settings(max_new_tokens: int, eos: Sequence[int], pad: int) -> dict[str, Any]:
    """Every generation setting that could change a reply, with its value.

    Args:
        max_new_tokens: Longest reply.
        eos: Token ids that end a reply; none lets every reply have `max_new_tokens`.
        pad: Token id that fills up rows that ended early.
    """
    return {
        "max_new_tokens": max_new_tokens,
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
        "repetition_penalty": 1.0,
        "encoder_repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "length_penalty": 1.0,
        "use_cache": True,
        "eos_token_id": list(eos) or None,
        "pad_token_id": pad,
    }


def generation_config(settings: dict[str, Any]) -> Any:
    """The settings as a transformers GenerationConfig with nothing from a checkpoint."""
    from transformers import GenerationConfig

    return GenerationConfig(**settings)


def eos_token_ids(checkpoint_config: Any, tokenizer: Any) -> list[int]:
    """The ids that end a reply: the checkpoint's list, else the tokenizer's one.

    Raises:
        ModelError: Neither has one.
    """
    eos = getattr(checkpoint_config, "eos_token_id", None)
    if eos is None:
        eos = tokenizer.eos_token_id
    if eos is None:
        raise ModelError("neither generation_config.json nor the tokenizer names an end token")
    return sorted(eos) if isinstance(eos, (list, tuple)) else [int(eos)]


class LogitsWatch:
    """A logits processor that keeps what `generate` does not return.

    It changes nothing, but for several ranks, which go on with the logits of one.

    A row with NaN or infinite logits has a meaningless argmax: fp16 overflow shows as
    `!!!!`, not as an error.

    Attributes:
        not_finite: (B,) bool on the device, rows with such logits at any step.
        first_logits: (B, V), the first step's.
    """

    def __init__(self, agree: Agree) -> None:
        self._agree = agree
        self.not_finite: Any = None
        self.first_logits: Any = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Looks at the logits of one step, (B, V); stays on the device."""
        scores = self._agree(scores.contiguous())
        bad = ~scores.isfinite().all(dim=-1)
        self.not_finite = bad if self.not_finite is None else self.not_finite | bad
        if self.first_logits is None:
            self.first_logits = scores
        return scores


class TokenMarks:
    """A stopping criterion that never stops and tells the clock of each new token."""

    def __init__(self, clock: StageClock) -> None:
        self._clock = clock

    def __call__(self, input_ids: Any, scores: Any, **_ignored: Any) -> Any:
        """Marks the token; False for every row of (B, T) ids."""
        import torch

        self._clock.token_done()
        return input_ids.new_zeros(len(input_ids), dtype=torch.bool)


class EachStep:
    """A stopping criterion that never stops and tells of each step's tokens."""

    def __init__(self, watch: LogitsWatch, on_tokens: OnTokens) -> None:
        self._watch = watch
        self._on_tokens = on_tokens

    def __call__(self, input_ids: Any, scores: Any, **_ignored: Any) -> Any:
        """Tells of the last token; False for every row of (B, T) ids."""
        import torch

        self._on_tokens(input_ids[:, -1], self._watch.not_finite)
        return input_ids.new_zeros(len(input_ids), dtype=torch.bool)


class EnoughTokens:
    """A stopping criterion that ends a batch when no row needs another token."""

    def __init__(self, limits: Limits, num_input: int) -> None:
        self._limits = limits
        self._num_input = num_input

    def __call__(self, input_ids: Any, scores: Any, **_ignored: Any) -> Any:
        """One bool for every row of (B, T) ids."""
        import torch

        enough = self._limits.all_enough(input_ids[:, self._num_input :])
        return torch.full((len(input_ids),), enough, device=input_ids.device)
