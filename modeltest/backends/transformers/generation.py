"""Greedy generation with every setting pinned.

Checkpoints ship sampling settings of their own (Qwen2-Audio-7B-Instruct: sampling on,
repetition_penalty 1.1), and `generate` falls back on them for each setting that a caller
leaves out; some releases also for settings that equal the library's default. So the
loaded model's own generation config is replaced, not merely overridden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def pinned_settings(max_new_tokens: int, eos: Sequence[int], pad: int) -> dict[str, Any]:
    """Every generation setting that could change a reply, with its value.

    Args:
        max_new_tokens: Longest reply.
        eos: Token ids that end a reply.
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
        "eos_token_id": list(eos),
        "pad_token_id": pad,
    }


def generation_config(settings: dict[str, Any]) -> Any:
    """The settings as a transformers GenerationConfig with nothing from a checkpoint."""
    from transformers import GenerationConfig

    return GenerationConfig(**settings)


def eos_token_ids(checkpoint_config: Any, tokenizer: Any) -> list[int]:
    """The ids that end a reply: the checkpoint's list, else the tokenizer's one."""
    eos = getattr(checkpoint_config, "eos_token_id", None)
    if eos is None:
        eos = tokenizer.eos_token_id
    return sorted(eos) if isinstance(eos, (list, tuple)) else [int(eos)]


class FiniteWatch:
    """A logits processor that changes nothing and remembers rows with NaN or infinite logits.

    Such a row's argmax is meaningless: fp16 overflow shows as `!!!!`, not as an error.
    """

    def __init__(self) -> None:
        self._bad: Any = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Looks at the logits of one step, shape (batch, vocabulary); stays on the device."""
        bad = ~scores.isfinite().all(dim=-1)
        self._bad = bad if self._bad is None else self._bad | bad
        return scores

    def bad_rows(self) -> list[bool]:
        """Per row whether any step was not finite; waits for the device."""
        return [bool(bad) for bad in self._bad.tolist()]
