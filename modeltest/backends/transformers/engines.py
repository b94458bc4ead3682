"""The two ways to run a batch: the model's own modules directly, or transformers' `generate`.

Both are greedy, both tell the same clock about the same stages, and both give the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from modeltest.backends.transformers import generation
from modeltest.backends.transformers.fast import (
    Agree,
    Batch,
    FastGenerator,
    Limits,
    OnTokens,
    alone,
)
from modeltest.backends.transformers.fast_inputs import BatchBuilder
from modeltest.backends.transformers.stages import StageClock
from modeltest.errors import ModelError
from modeltest.protocols import Device
from modeltest.records import Request

Encode = Callable[[Sequence[str], Sequence[Request]], Mapping[str, Any]]
"""Makes the processor's outputs of rendered texts and requests, and checks them."""
Watch = Callable[[Any, Callable[[], None], Callable[[], None]], None]
"""Given a model, has the first function called when its encoder starts, the second when it,
projector included, is done."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What an engine made of a batch, still on the device.

    Attributes:
        tokens: (B, steps) int64; what follows a row's end token has no meaning.
        not_finite: (B,) bool, rows with NaN or infinite logits at any step.
        first_logits: (B, V), those of the first new token.
    """

    tokens: Any
    not_finite: Any
    first_logits: Any


class Engine(Protocol):
    """Host part and device part of a batch."""

    def prepare(self, texts: Sequence[str], requests: Sequence[Request]) -> Any:
        """Tokens and features on the host; needs no loaded model."""
        ...

    def tensors(self, prepared: Any) -> Mapping[str, Any]:
        """What `prepare` returned as named tensors on the host."""
        ...

    def prepared(self, tensors: Mapping[str, Any]) -> Any:
        """What `prepare` returned, of its `tensors`."""
        ...

    def attach(self, model: Any, agree: Agree = alone) -> None:
        """Takes the loaded model, and what makes its ranks go on with the same tokens."""
        ...

    def generate(
        self,
        prepared: Any,
        limits: Limits,
        clock: StageClock,
        on_tokens: OnTokens | None = None,
    ) -> Rows:
        """New tokens of a prepared batch; `on_tokens` is told of each step."""
        ...


class FastEngine:
    """Trimmed encoder, one pass per token, cache of the final size; see fast.py."""

    def __init__(self, processor: Any, device: Device, pad_id: int) -> None:
        self._builder = BatchBuilder(processor, processor.feature_extractor.nb_max_frames // 2)
        self._device_name = device.torch_name
        self._pad_id = pad_id
        self._generator: FastGenerator | None = None

    def attach(self, model: Any, agree: Agree = alone) -> None:
        """Finds the model's modules."""
        self._generator = FastGenerator(model, agree)

    def prepare(self, texts: Sequence[str], requests: Sequence[Request]) -> Any:
        """A Batch on the host."""
        return self._builder.build(texts, requests)

    def tensors(self, prepared: Any) -> Mapping[str, Any]:
        """The fields of a Batch."""
        return {field.name: getattr(prepared, field.name) for field in fields(Batch)}

    def prepared(self, tensors: Mapping[str, Any]) -> Any:
        """A Batch of its fields."""
        return Batch(**tensors)

    def generate(
        self,
        prepared: Any,
        limits: Limits,
        clock: StageClock,
        on_tokens: OnTokens | None = None,
    ) -> Rows:
        """Runs the modules."""
        if self._generator is None:
            raise RuntimeError("the model is not loaded")
        batch = self._generator.to_device(prepared, self._device_name)
        clock.features_done()
        made = self._generator.generate(batch, limits, self._pad_id, clock, on_tokens)
        return Rows(made.tokens, made.not_finite, made.first_logits)


class StockEngine:
    """The processor's own features and `generate`, for reference and for any architecture."""

    def __init__(self, encode: Encode, watch: Watch, device: Device, pad_id: int) -> None:
        self._encode = encode
        self._watch = watch
        self._device_name = device.torch_name
        self._pad_id = pad_id
        self._model: Any = None
        self._agree: Agree = alone
        self._clock: StageClock | None = None

    def attach(self, model: Any, agree: Agree = alone) -> None:
        """Watches the encoder."""
        self._model, self._agree = model, agree
        self._watch(model, self._encodes, self._encoded)

    def prepare(self, texts: Sequence[str], requests: Sequence[Request]) -> Any:
        """The processor's own inputs, compared with what was asked for."""
        return self._encode(texts, requests)

    def tensors(self, prepared: Any) -> Mapping[str, Any]:
        """The processor's outputs."""
        return dict(prepared)

    def prepared(self, tensors: Mapping[str, Any]) -> Any:
        """The processor's outputs."""
        return tensors

    def generate(
        self,
        prepared: Any,
        limits: Limits,
        clock: StageClock,
        on_tokens: OnTokens | None = None,
    ) -> Rows:
        """Calls `generate` with every setting pinned."""
        moved = {key: self._moved(value) for key, value in prepared.items()}
        clock.features_done()
        self._clock = clock
        config = generation.generation_config(
            generation.pinned_settings(limits.max_new_tokens, limits.end_ids, self._pad_id)
        )
        self._model.generation_config = config
        watch = generation.LogitsWatch(self._agree)
        num_input = moved["input_ids"].shape[1]
        criteria: list[Any] = [
            generation.TokenMarks(clock),
            generation.EnoughTokens(limits, num_input),
        ]
        if on_tokens is not None:
            criteria.append(generation.EachStep(watch, on_tokens))
        rows = self._model.generate(
            **moved,
            generation_config=config,
            logits_processor=[watch],
            stopping_criteria=criteria,
        )
        self._refuse_other_rows(rows, moved["input_ids"], limits)
        return Rows(rows[:, num_input:], watch.not_finite, watch.first_logits)

    def _refuse_other_rows(self, rows: Any, input_ids: Any, limits: Limits) -> None:
        """Makes sure that the prompts are gone on with, and as far as was asked for.

        A model's own `generate` may give its parts settings of its own.

        Raises:
            ModelError: Something else was made; replies or times would be of something else.
        """
        import torch

        name, num_input = type(self._model).__name__, input_ids.shape[1]
        is_text = isinstance(rows, torch.Tensor) and rows.dim() == input_ids.dim()
        if not is_text or not torch.equal(rows[:, :num_input], input_ids):
            raise ModelError(
                f"{name}'s `generate` does not go on behind the prompt; it makes no text that "
                "could be read"
            )
        num_new, num_asked = rows.shape[1] - num_input, limits.max_new_tokens
        can_end = limits.end_ids or limits.enough
        if num_new > num_asked or (num_new < num_asked and not can_end):
            raise ModelError(
                f"{name}'s `generate` made {num_new} tokens where {num_asked} were asked for; it "
                "does not keep to the settings that it is given, so it cannot be measured"
            )

    def _moved(self, value: Any) -> Any:
        if not hasattr(value, "is_floating_point"):
            return value
        moved = value.to(self._device_name)
        return moved.to(self._model.dtype) if moved.is_floating_point() else moved

    def _encodes(self) -> None:
        if self._clock is not None:
            self._clock.encoder_starts()

    def _encoded(self) -> None:
        if self._clock is not None:
            self._clock.encoder_done()
