"""A model in this process: Qwen2-Audio's modules, or transformers' own `generate`."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from modeltest.backends.transformers import generation, inputs, model_folder, tensor_parallel
from modeltest.backends.transformers.adapter import Adapter
from modeltest.backends.transformers.architecture import auto_class, is_qwen2_audio
from modeltest.backends.transformers.engines import Engine
from modeltest.backends.transformers.fast import Limits, alone
from modeltest.backends.transformers.loading import (
    load_generation_config,
    load_model,
    load_processor,
)
from modeltest.backends.transformers.native import NativeModel
from modeltest.backends.transformers.qwen2_audio import Qwen2Audio
from modeltest.backends.transformers.stages import StageClock
from modeltest.backends.transformers.text_stream import BatchText
from modeltest.errors import DeviceError
from modeltest.protocols import Device, OnText
from modeltest.records import Generation, Prompt, Request, Response, StageWork, Timing

_NUM_TEXTS = 256
NON_FINITE = "the logits are not finite; with fp16, try bf16"


@dataclass(frozen=True, slots=True)
class TransformersSettings:
    """What the backend needs to know.

    Attributes:
        model_path: A folder that `check_model_folder` accepted.
        data_type: `bf16`, `fp16` or `fp32`.
        attention: `sdpa`, `eager` or `flash_attention_2`.
        engine: `fast` or `stock`; see engines.py. An architecture that the fast one does not
            know has `stock`.
        seed: Seeds torch; greedy decoding does not draw, so it changes nothing today.
        tp: Ranks that share the model, one device each; this process is one of them.
    """

    model_path: Path
    data_type: str
    attention: str
    engine: str = "fast"
    seed: int = 0
    tp: int = 1


@dataclass(frozen=True, slots=True)
class Prepared:
    """The host's part of a batch.

    Attributes:
        texts: Rendered inputs, one per request.
        inputs: What the engine made of them.
        seconds: How long that took.
    """

    texts: tuple[str, ...]
    inputs: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class _Reply:
    """One row of a batch, on the host."""

    input_counts: tuple[int, int]
    tokens: list[int]
    text: str
    not_finite: bool
    option_logits: tuple[float, ...]


class TransformersBackend:
    """Runs a checkpoint, greedy, every setting pinned.

    Offline by construction: files are read from the folder only, safetensors only, and no
    code from the checkpoint is run.
    """

    name = "transformers"

    def __init__(self, settings: TransformersSettings, device: Device) -> None:
        self._settings = settings
        self._device = device
        self._model: Any = None
        self._ranks: tensor_parallel.Ranks | None = None
        self._num_parameters = 0
        self.processor, self._adapter = _read(settings.model_path)
        if settings.tp > 1:
            tensor_parallel.refuse_uneven(settings.model_path, settings.tp)
        # Bounded: a dialogue has a text of its own for each question.
        self._rendered = lru_cache(_NUM_TEXTS)(self._adapter.render)
        self.sampling_rate_hz = self._adapter.sampling_rate_hz
        self.max_audio_s = self._adapter.max_audio_s
        self._known_limits: dict[Generation, Limits] = {}
        self._option_ids: dict[tuple[str, ...], list[list[int]]] = {}
        self._eos = generation.eos_token_ids(
            load_generation_config(settings.model_path), self.processor.tokenizer
        )
        self._pad = int(self.processor.tokenizer.pad_token_id)
        self._engine: Engine = self._adapter.make_engine(self.engine, device, self._pad)

    @property
    def engine(self) -> str:
        """The engine in use: flash_attention_2 wants other masks than the fast one makes."""
        asked, attention = self._settings.engine, self._settings.attention
        can = asked in self._adapter.engines and attention in model_folder.FAST_ATTENTIONS
        return asked if can else "stock"

    @property
    def model(self) -> Any:
        """The loaded transformers model.

        Raises:
            RuntimeError: `load` was not called.
        """
        if self._model is None:
            raise RuntimeError("the model is not loaded")
        return self._model

    def render(self, prompt: Prompt, num_clips: int) -> str:
        """The model's input text, one unexpanded audio token per clip."""
        return self._rendered(prompt, num_clips)

    def num_input_tokens(self, request: Request) -> int:
        """Text tokens and those that stand for audio."""
        text = self.render(request.prompt, len(request.audio))
        return self._adapter.num_input_tokens(text, request)

    def load(self) -> None:
        """Loads the weights onto the device in the chosen precision and drains it.

        A tensor-parallel rank waits for the others and keeps its part.

        Raises:
            DeviceError: The weights do not fit, or another rank is gone.
        """
        import torch

        torch.manual_seed(self._settings.seed)
        if self._settings.tp > 1 and self._ranks is None:
            self._ranks = tensor_parallel.Ranks(self._device, self._settings.tp)
            with self._together():
                self._ranks.let_load()
        model = load_model(
            self._settings.model_path,
            self._settings.data_type,
            self._settings.attention,
            self._adapter.model_class,
        )
        model.eval()
        self._num_parameters = sum(p.numel() for p in model.parameters())
        if self._ranks:
            tensor_parallel.split(model, self._ranks)
        try:
            model.to(self._device.torch_name)
        except (RuntimeError, MemoryError) as error:
            if not self._device.is_out_of_memory(error):
                raise
            raise DeviceError(
                f"{self._device.torch_name}: its memory does not hold the model's weights; "
                "free some, or choose another device or --dtype"
            ) from error
        self._adapter.attach(model)
        self._engine.attach(model, self._ranks.agree if self._ranks else alone)
        self._model = model
        self._device.synchronize()

    def prepare(self, requests: Sequence[Request]) -> Prepared:
        """Tokens and log-mel features on the host.

        Raises:
            ModelError: The clips did not arrive whole in the inputs.
        """
        start_s = time.perf_counter()
        texts = [self.render(request.prompt, len(request.audio)) for request in requests]
        made = self._engine.prepare(texts, requests)
        return Prepared(tuple(texts), made, time.perf_counter() - start_s)

    def input_tensors(self, prepared: Prepared) -> Mapping[str, Any]:
        """What `prepare` made as named tensors on the host; `input_ids` among them."""
        return self._engine.tensors(prepared.inputs)

    def generate(
        self,
        requests: Sequence[Request],
        prepared: Prepared | None = None,
        on_text: OnText | None = None,
    ) -> list[Response]:
        """Answers a batch.

        The device is drained before each clock reading, so `e2e_s` covers features,
        transfer, encoder, prefill, decoding and detokenisation.

        Raises:
            ModelError: The clips did not reach the model.
        """
        import torch

        asked = requests[0].generation
        clock = StageClock(self._device)
        self._adapter.begin_batch()
        clock.start(prepared.seconds if prepared else 0.0)
        ready = prepared or self.prepare(requests)
        limits = self._limits(asked)
        with self._together(), torch.inference_mode():
            if self._ranks:
                self._ranks.ask(asked, self._engine.tensors(ready.inputs))
            told = self._text_of(limits, on_text).step if on_text else None
            rows = self._engine.generate(ready.inputs, limits, clock, told)
        replies = [_cut_at_end(row, limits) for row in rows.tokens.tolist()]
        clock.generated()
        decoded = self.processor.tokenizer.batch_decode(
            replies, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        clock.decoded()
        self._adapter.check_heard(sum(len(request.audio) for request in requests))
        timing = clock.times()
        counts = self._adapter.token_counts(ready.texts, requests, ready.inputs)
        logits = self._option_logits(rows.first_logits, asked.options)
        not_finite = rows.not_finite.tolist()
        parts = zip(counts, replies, decoded, not_finite, logits, strict=True)
        return [
            self._response(request, input_text, _Reply(*part), timing)
            for request, input_text, part in zip(requests, ready.texts, parts, strict=True)
        ]

    def follow(self) -> None:
        """Of a tensor-parallel rank above 0: loads, then computes along until rank 0 closes.

        If rank 0 has nothing to do, neither has this one.

        Raises:
            DeviceError: This rank failed, or another one.
        """
        import torch

        self._ranks = tensor_parallel.Ranks(self._device, self._settings.tp)
        if self._ranks.shall_load():
            self.load()
            while asked := self._ranks.next_asked():
                clock = StageClock(self._device)
                clock.start()
                batch = self._engine.prepared(asked.tensors)
                with self._together(), torch.inference_mode():
                    self._engine.generate(batch, self._limits(asked.generation), clock)
        self.close()

    def identity(self, certified: bool) -> Mapping[str, Any]:
        """Model files, pinned generation settings, precision and attention."""
        settings = self._generation_settings(max_new_tokens=None)
        return {
            "model": model_folder.fingerprint(self._settings.model_path, certified),
            "generation": settings,
            "dtype": self._settings.data_type,
            "attention": self._settings.attention,
            "engine": self.engine,
            "padding_side": "left",
        }

    def facts(self) -> Mapping[str, Any]:
        """Parameters and precision of the loaded model."""
        return {
            "architecture": type(self.model).__name__,
            "num_parameters": self._num_parameters,
            "attention": self.model.config._attn_implementation,
            "engine": self.engine,
            "tp": self._settings.tp,
            "sampling_rate_hz": self.sampling_rate_hz,
            "max_audio_s": self.max_audio_s,
        }

    def work(self, requests: Sequence[Request], output_tokens: int) -> Mapping[str, StageWork]:
        """FLOPs and bytes by stage; see work.py."""
        texts = [self.render(request.prompt, len(request.audio)) for request in requests]
        fast = self.engine == "fast"
        return self._adapter.work(self.model, texts, requests, output_tokens, fast)

    def close(self) -> None:
        """Drops the model; lets the other ranks end."""
        self._model = None
        if self._ranks:
            self._ranks.leave()
            self._ranks = None

    def _together(self) -> AbstractContextManager[None]:
        return self._ranks.failing_together() if self._ranks else nullcontext()

    @property
    def audio_id(self) -> int:
        """The token that stands for audio."""
        return int(self.processor.tokenizer.convert_tokens_to_ids(inputs.AUDIO_TOKEN))

    def _generation_settings(self, max_new_tokens: int | None) -> dict[str, Any]:
        settings = generation.pinned_settings(max_new_tokens or 0, self._eos, self._pad)
        if max_new_tokens is None:  # a setting of the task, recorded with it
            del settings["max_new_tokens"]
        return settings

    def _response(
        self, request: Request, input_text: str, reply: _Reply, timing: Timing
    ) -> Response:
        bad = reply.not_finite
        return Response(
            sample_id=request.sample_id,
            text="" if bad else reply.text,
            input_text=input_text,
            input_tokens=reply.input_counts[0],
            audio_tokens=reply.input_counts[1],
            output_tokens=len(reply.tokens),
            finish_reason="" if bad else self._finish_reason(request.generation, reply.tokens),
            timing=timing,
            error=NON_FINITE if bad else "",
            output_ids=tuple(reply.tokens),
            option_logits=() if bad else reply.option_logits,
        )

    def _finish_reason(self, asked: Generation, reply: list[int]) -> str:
        if reply[-1] in self._eos:
            return "stop"
        enough = self._limits(asked).enough
        return "answer" if enough and enough(reply) else "length"

    def _limits(self, asked: Generation) -> Limits:
        if asked not in self._known_limits:
            pattern = re.compile(asked.stop_pattern)

            def enough(tokens: list[int]) -> bool:
                text = self.processor.tokenizer.decode(tokens, skip_special_tokens=True)
                return pattern.match(text) is not None

            self._known_limits[asked] = Limits(
                asked.max_new_tokens,
                () if asked.ignore_eos else tuple(self._eos),
                enough if asked.stop_pattern else None,
            )
        return self._known_limits[asked]

    def _option_logits(self, logits: Any, options: tuple[str, ...]) -> list[tuple[float, ...]]:
        """Per row of (B, V) the options' logits: the higher of "C" and " C", first token."""
        if not options:
            return [()] * len(logits)
        if options not in self._option_ids:
            self._option_ids[options] = self._adapter.option_tokens(options)
        if not self._option_ids[options]:
            return [()] * len(logits)
        scores = logits[:, self._option_ids[options]].float().amax(dim=-1)
        return [tuple(row) for row in scores.tolist()]

    def _text_of(self, limits: Limits, on_text: OnText) -> BatchText:
        return BatchText(self.processor.tokenizer, limits, on_text, self._adapter.joins_text)


def _read(path: Path) -> tuple[Any, Adapter]:
    """Processor and adapter of a checkpoint that `check_model_folder` accepted."""
    if is_qwen2_audio(path):
        processor = load_processor(path)
        return processor, Qwen2Audio(processor)
    model_class = auto_class(path)  # refuses what transformers' processors must not read
    processor = load_processor(path)
    return processor, NativeModel(path, processor, model_class)


def _cut_at_end(tokens: list[int], limits: Limits) -> list[int]:
    """A reply up to its end token or to where it was enough; other rows may have gone on."""
    for num, token in enumerate(tokens, start=1):
        if token in limits.end_ids or (limits.enough and limits.enough(tokens[:num])):
            return tokens[:num]
    return tokens
