"""Greedy generation by the model's own modules, without what a batch does not need.

The encoder runs on the batch's longest clip, the language model's head on the last position
only, keys and values are written into a cache of the final size, and nothing is done twice
per step. No module is written again: encoder, projector, decoder and head are the model's.

Shape suffixes: B requests, C clips, M mel bins, F mel frames, T input tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from modeltest.backends.transformers import trim
from modeltest.backends.transformers.kv_cache import PreallocatedCache
from modeltest.backends.transformers.stages import StageClock

Agree: TypeAlias = Callable[[Any], Any]
"""Returns the first rank's values of a tensor where several ranks compute a model."""

OnTokens: TypeAlias = Callable[[Any, Any], None]
"""Told each step's new tokens, (B,), and which rows were not finite so far, (B,) bool."""


def alone(tensor: Any) -> Any:
    """There are no other ranks to agree with."""
    return tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch on the host or on the device, left-padded.

    Attributes:
        input_ids: (B, T) int64, audio tokens expanded.
        attention_mask: (B, T) int64, 1 for real tokens.
        features: (C, M, F) float, F twice the encoder's positions.
        num_frames: (C,) int64, frames that each clip fills.
        is_audio: (B, T) bool, where the clips' embeddings go, in the clips' order.
    """

    input_ids: Any
    attention_mask: Any
    features: Any
    num_frames: Any
    is_audio: Any


@dataclass(frozen=True, slots=True)
class Limits:
    """When the replies of a batch end.

    Attributes:
        max_new_tokens: Most tokens of a reply.
        end_ids: Tokens that end a reply; none goes on to `max_new_tokens`.
        enough: Whether a reply needs no more than these tokens; None never says so.
    """

    max_new_tokens: int
    end_ids: tuple[int, ...] = ()
    enough: Callable[[list[int]], bool] | None = None

    def end_with(self, tokens: list[int]) -> bool:
        """Whether a reply that begins with these tokens ends with the last of them."""
        return tokens[-1] in self.end_ids or (self.enough is not None and self.enough(tokens))

    def all_enough(self, tokens: Any) -> bool:
        """Whether no row of (B, steps) needs another token, `end_ids` aside; may wait."""
        return self.enough is not None and all(map(self.enough, tokens.tolist()))


@dataclass(frozen=True, slots=True)
class Generated:
    """New tokens of a batch.

    Attributes:
        tokens: (B, steps) int64 on the device.
        not_finite: (B,) bool, rows with NaN or infinite logits at any step.
        first_logits: (B, V), the prefill's.
    """

    tokens: Any
    not_finite: Any
    first_logits: Any


class FastGenerator:
    """Runs a loaded Qwen2AudioForConditionalGeneration; needs no processor."""

    def __init__(self, model: Any, agree: Agree = alone) -> None:
        """Finds the model's modules.

        Args:
            model: Loaded.
            agree: Makes the ranks of a model on several devices choose the same tokens.
        """
        self._agree = agree
        self._encoder = only(model, "Qwen2AudioEncoder")
        self._projector = only(model, "Qwen2AudioMultiModalProjector")
        self._body = only(model, "Qwen2Model")
        self._head = model.get_output_embeddings()
        self._embed = model.get_input_embeddings()
        self._dtype = next(model.parameters()).dtype

    @property
    def max_positions(self) -> int:
        """Positions of the untrimmed encoder."""
        return int(self._encoder.config.max_source_positions)

    def to_device(self, batch: Batch, device: str) -> Batch:
        """Moves a batch, features in the model's precision."""
        return Batch(
            batch.input_ids.to(device),
            batch.attention_mask.to(device),
            batch.features.to(device, self._dtype),
            batch.num_frames.to(device),
            batch.is_audio.to(device),
        )

    def generate(
        self,
        batch: Batch,
        limits: Limits,
        pad_id: int,
        clock: StageClock,
        on_tokens: OnTokens | None = None,
    ) -> Generated:
        """Greedy decoding of a batch on the device; call it in inference mode.

        Args:
            batch: On the model's device.
            limits: When the replies end.
            pad_id: Fills rows that ended before the others.
            clock: Told when encoder and tokens are done.
            on_tokens: Told of each step, if anybody wants to know.
        """
        import torch

        embeds = self._embed_batch(batch, clock)
        num_rows, num_input = batch.input_ids.shape
        masks = _Masks(batch.attention_mask, limits.max_new_tokens, embeds.dtype)
        cache = PreallocatedCache(num_input + limits.max_new_tokens)
        rows = _Rows(num_rows, limits, pad_id, embeds.device, self._agree)
        with self._last_position_only():
            hidden = self._prefill(embeds, batch, masks, cache)
        positions = batch.attention_mask.sum(-1, keepdim=True)
        while True:
            rows.take(self._head(hidden))
            clock.token_done()
            if on_tokens is not None:
                on_tokens(rows.newest, rows.not_finite)
            if rows.complete():
                break
            hidden = self._body(
                inputs_embeds=self._embed(rows.newest.unsqueeze(1)),
                attention_mask=masks.of_step(rows.num_tokens),
                position_ids=positions + (rows.num_tokens - 1),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
        return Generated(torch.stack(rows.tokens, dim=1), rows.not_finite, rows.first_logits)

    def _prefill(self, embeds: Any, batch: Batch, masks: _Masks, cache: Any) -> Any:
        """Hidden state of the last position, (B, hidden)."""
        return self._body(
            inputs_embeds=embeds,
            attention_mask=masks.of_prefill(),
            position_ids=(batch.attention_mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]

    @contextmanager
    def _last_position_only(self) -> Iterator[None]:
        """Lets the last layer's output products and MLP see a prompt's last position only.

        Nothing reads the layer's output at the others. What is added to the residual is then
        one position, which torch broadcasts over all: right at the last one.
        """
        layer = self._body.layers[-1]
        hooks = [
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, -1:],))
            for module in (layer.self_attn.o_proj, layer.mlp)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _embed_batch(self, batch: Batch, clock: StageClock) -> Any:
        """(B, T, hidden): tokens, the clips' embeddings in the place of audio tokens."""
        audio = self._encode(batch)
        clock.encoder_done()
        embeds = self._embed(batch.input_ids)
        return embeds.masked_scatter(batch.is_audio.unsqueeze(-1), audio.to(embeds.dtype))

    def _encode(self, batch: Batch) -> Any:
        """Embeddings of the clips' audio tokens, one after the other, (tokens, hidden)."""
        import torch

        num_positions = batch.features.shape[-1] // trim.FRAMES_PER_POSITION
        # The encoder's own arithmetic: a convolution of stride 2, then pooling by 2.
        filled = (batch.num_frames - 1) // 2 + 1
        num_tokens = (filled - 2) // 2 + 1
        place = torch.arange(num_positions, device=filled.device)
        hidden = place >= filled[:, None]
        mask = torch.zeros(hidden.shape, dtype=batch.features.dtype, device=hidden.device)
        mask = mask.masked_fill(hidden, float("-inf"))[:, None, None, :]
        mask = mask.expand(-1, 1, num_positions, -1)
        with trim.fewer_positions(self._encoder, num_positions):
            output = self._encoder(batch.features, attention_mask=mask).last_hidden_state
        kept = torch.arange(output.shape[1], device=filled.device) < num_tokens[:, None]
        return self._projector(output[kept])


class _Rows:
    """The new tokens of a batch while it is generated; everything stays on the device."""

    def __init__(
        self,
        num_rows: int,
        limits: Limits,
        pad_id: int,
        device: Any,
        agree: Agree,
    ) -> None:
        import torch

        self._agree = agree
        self._limits = limits
        self._pad_id = pad_id
        self._end_ids = torch.tensor(limits.end_ids, device=device, dtype=torch.int64)
        self._ended = torch.zeros(num_rows, dtype=torch.bool, device=device)
        self.not_finite = torch.zeros(num_rows, dtype=torch.bool, device=device)
        self.first_logits: Any = None
        self.tokens: list[Any] = []

    @property
    def num_tokens(self) -> int:
        """Tokens that each row has."""
        return len(self.tokens)

    @property
    def newest(self) -> Any:
        """(B,), the last token of each row."""
        return self.tokens[-1]

    def take(self, logits: Any) -> None:
        """Chooses the next token of each row from (B, V)."""
        import torch

        if self.first_logits is None:
            self.first_logits = logits
        self.not_finite |= ~logits.isfinite().all(dim=-1)
        chosen = self._agree(logits.argmax(dim=-1)).masked_fill(self._ended, self._pad_id)
        if self._limits.end_ids:
            self._ended |= torch.isin(chosen, self._end_ids)
        self.tokens.append(chosen)

    def complete(self) -> bool:
        """Whether no row needs another token; waits for the device where that depends on it."""
        import torch

        if self.num_tokens == self._limits.max_new_tokens:
            return True
        if self._limits.end_ids and bool(self._ended.all()):
            return True
        if self._limits.enough is None:
            return False
        return self._limits.all_enough(torch.stack(self.tokens, dim=1))


class _Masks:
    """Additive attention masks of prefill and steps; None where nothing is padded."""

    def __init__(self, attention_mask: Any, max_new_tokens: int, dtype: Any) -> None:
        import torch

        self._hidden = attention_mask == 0
        self._length = attention_mask.shape[1]
        self._lowest = torch.finfo(dtype).min
        self._keys = None
        if bool(self._hidden.any()):
            shape = len(attention_mask), self._length + max_new_tokens
            keys = torch.zeros(shape, dtype=dtype, device=attention_mask.device)
            keys[:, : self._length].masked_fill_(self._hidden, self._lowest)
            self._keys = keys[:, None, None, :]

    def of_prefill(self) -> Any:
        """(B, 1, T, T), or None."""
        import torch

        if self._keys is None:
            return None
        square = (self._length,) * 2
        device = self._hidden.device
        later = torch.ones(square, dtype=torch.bool, device=device).triu(1)
        # A padded position sees itself, or its softmax would be over nothing.
        itself = torch.eye(self._length, dtype=torch.bool, device=device)
        blocked = (later | self._hidden[:, None, :]) & ~itself
        zeros = torch.zeros(blocked.shape, dtype=self._keys.dtype, device=device)
        return zeros.masked_fill_(blocked, self._lowest)[:, None]

    def of_step(self, step: int) -> Any:
        """(B, 1, 1, T + step) for the pass behind `step` new tokens, or None."""
        return None if self._keys is None else self._keys[..., : self._length + step]


def only(model: Any, class_name: str) -> Any:
    """The model's one module of a class."""
    [found] = [module for module in model.modules() if type(module).__name__ == class_name]
    return found
