"""Qwen2-Audio in this process, through transformers' own model and `generate`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.backends.transformers import generation, inputs, model_folder, trim
from modeltest.errors import ModelError, one_line
from modeltest.protocols import Device
from modeltest.records import Prompt, Request, Response, StageWork, Timing

NON_FINITE = "the logits are not finite; with fp16, try bf16"
_TORCH_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


@dataclass(frozen=True, slots=True)
class TransformersSettings:
    """What the backend needs to know.

    Attributes:
        model_path: A folder that `check_model_folder` accepted.
        data_type: `bf16`, `fp16` or `fp32`.
        attention: `sdpa`, `eager` or `flash_attention_2`.
        engine: `fast` runs the encoder on the batch's longest clip, `stock` on 30 s.
        seed: Seeds torch; greedy decoding does not draw, so it changes nothing today.
    """

    model_path: Path
    data_type: str
    attention: str
    engine: str = "fast"
    seed: int = 0


class TransformersBackend:
    """Runs a checkpoint with `generate`, greedy, every setting pinned.

    Offline by construction: files are read from the folder only, safetensors only, and no
    code from the checkpoint is run.
    """

    name = "transformers"

    def __init__(self, settings: TransformersSettings, device: Device) -> None:
        self._settings = settings
        self._device = device
        self._model: Any = None
        self._encoder: Any = None
        self._encoder_batches: list[int] = []
        self._rendered: dict[tuple[Prompt, int], str] = {}
        self.processor = self._load_processor()
        extractor = self.processor.feature_extractor
        self.sampling_rate_hz = int(extractor.sampling_rate)
        self.max_audio_s = float(extractor.chunk_length)
        self._eos = generation.eos_token_ids(
            self._checkpoint_generation_config(), self.processor.tokenizer
        )
        self._pad = int(self.processor.tokenizer.pad_token_id)

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
        key = prompt, num_clips
        if key not in self._rendered:
            self._rendered[key] = inputs.render(self.processor, prompt, num_clips)
        return self._rendered[key]

    def load(self) -> None:
        """Loads the weights onto the device in the chosen precision and drains it."""
        import torch
        import transformers

        torch.manual_seed(self._settings.seed)
        transformers.utils.logging.disable_progress_bar()
        release = tuple(int(part) for part in transformers.__version__.split(".")[:2])
        dtype_keyword = "dtype" if release >= (4, 56) else "torch_dtype"
        if self._settings.attention == "flash_attention_2" and release < (5, 0):
            raise ModelError(
                f"transformers {transformers.__version__} gives the audio encoder a mask that "
                "flash_attention_2 misreads; use sdpa or eager, or transformers 5"
            )
        with _named_failures(f"{self._settings.model_path}: the model cannot be loaded"):
            model, report = transformers.Qwen2AudioForConditionalGeneration.from_pretrained(
                self._settings.model_path,
                attn_implementation=self._settings.attention,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **{dtype_keyword: getattr(torch, _TORCH_DTYPES[self._settings.data_type])},
            )
        _refuse_partial_load(report, self._settings.model_path)
        model.eval()
        model.to(self._device.torch_name)
        [self._encoder] = [m for m in model.modules() if type(m).__name__ == "Qwen2AudioEncoder"]
        self._encoder.register_forward_pre_hook(self._note_encoder_batch, with_kwargs=True)
        self._model = model
        self._device.synchronize()

    def prepare(self, requests: Sequence[Request]) -> None:
        """Nothing yet."""

    def generate(self, requests: Sequence[Request], prepared: Any = None) -> list[Response]:
        """Answers a batch.

        The device is drained before each clock reading, so `e2e_s` covers features,
        transfer, encoder, prefill, decoding and detokenisation.

        Raises:
            ModelError: The clips did not reach the model.
        """
        import torch

        texts = [self.render(request.prompt, len(request.audio)) for request in requests]
        settings = self._generation_settings(requests[0].generation.max_new_tokens)
        config = generation.generation_config(settings)
        self.model.generation_config = config
        self._device.synchronize()
        start_s = time.perf_counter()
        encoded = inputs.encode(self.processor, texts, requests)
        on_device = self.to_device(encoded)
        self._encoder_batches.clear()
        watch = generation.FiniteWatch()
        with torch.inference_mode():
            rows = self._generate(on_device, config, watch)
        new_tokens = rows[:, on_device["input_ids"].shape[1] :].tolist()
        replies = [self._cut_at_end(row) for row in new_tokens]
        decoded = self.processor.tokenizer.batch_decode(
            replies, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        failed = watch.bad_rows()
        self._device.synchronize()
        e2e_s = time.perf_counter() - start_s
        self._check_encoder_heard(sum(len(request.audio) for request in requests))
        input_tokens = inputs.num_input_tokens(
            encoded, requests, self.processor.feature_extractor.hop_length, self._audio_id
        )
        return [
            self._response(request, input_text, text, reply, num_in, Timing(e2e_s), bad)
            for request, input_text, text, reply, num_in, bad in zip(
                requests, texts, decoded, replies, input_tokens, failed, strict=True
            )
        ]

    def to_device(self, encoded: Any) -> dict[str, Any]:
        """Moves a batch to the device, features in the model's precision."""
        moved = {key: value.to(self._device.torch_name) for key, value in encoded.items()}
        moved["input_features"] = moved["input_features"].to(self.model.dtype)
        return moved

    def identity(self, certified: bool) -> Mapping[str, Any]:
        """Model files, pinned generation settings, precision and attention."""
        settings = self._generation_settings(max_new_tokens=None)
        return {
            "model": model_folder.fingerprint(self._settings.model_path, certified),
            "generation": settings,
            "dtype": self._settings.data_type,
            "attention": self._settings.attention,
            "engine": self._settings.engine,
            "padding_side": "left",
        }

    def facts(self) -> Mapping[str, Any]:
        """Parameters and precision of the loaded model."""
        return {
            "architecture": type(self.model).__name__,
            "num_parameters": sum(p.numel() for p in self.model.parameters()),
            "attention": self.model.config._attn_implementation,
            "sampling_rate_hz": self.sampling_rate_hz,
            "max_audio_s": self.max_audio_s,
        }

    def work(self, requests: Sequence[Request], output_tokens: int) -> Mapping[str, StageWork]:
        """FLOPs and bytes by stage."""
        return {}

    def close(self) -> None:
        """Drops the model."""
        self._model = self._encoder = None

    @property
    def _audio_id(self) -> int:
        return int(self.processor.tokenizer.convert_tokens_to_ids(inputs.AUDIO_TOKEN))

    def _generation_settings(self, max_new_tokens: int | None) -> dict[str, Any]:
        settings = generation.pinned_settings(max_new_tokens or 0, self._eos, self._pad)
        if max_new_tokens is None:  # a setting of the task, recorded with it
            del settings["max_new_tokens"]
        return settings

    def _load_processor(self) -> Any:
        import transformers

        path = self._settings.model_path
        with _named_failures(f"{path}: the processor's files cannot be used"):
            processor = transformers.AutoProcessor.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
            if processor.tokenizer.pad_token_id is None:
                raise ValueError("the tokenizer has no pad token")
        return processor

    def _checkpoint_generation_config(self) -> Any:
        import transformers

        if not (self._settings.model_path / "generation_config.json").is_file():
            return None
        path = self._settings.model_path
        with _named_failures(f"{path / 'generation_config.json'} cannot be used"):
            return transformers.GenerationConfig.from_pretrained(path, local_files_only=True)

    def _cut_at_end(self, tokens: list[int]) -> list[int]:
        for position, token in enumerate(tokens):
            if token in self._eos:
                return tokens[: position + 1]
        return tokens

    def _generate(
        self, on_device: dict[str, Any], config: Any, watch: generation.FiniteWatch
    ) -> Any:
        if self._settings.engine == "stock":
            return self.model.generate(
                **on_device, generation_config=config, logits_processor=[watch]
            )
        longest = int(on_device["feature_attention_mask"].sum(-1).max())
        positions = trim.positions_needed(longest, self._encoder.config.max_source_positions)
        with trim.fewer_positions(self._encoder, positions):
            return self.model.generate(
                **trim.trim_features(on_device, positions),
                generation_config=config,
                logits_processor=[watch],
            )

    def _response(  # noqa: PLR0913, PLR0917  (what a reply is made of)
        self,
        request: Request,
        input_text: str,
        text: str,
        reply: list[int],
        num_in: int,
        timing: Timing,
        bad: bool,
    ) -> Response:
        return Response(
            sample_id=request.sample_id,
            text="" if bad else text,
            input_text=input_text,
            input_tokens=num_in,
            output_tokens=len(reply),
            finish_reason="" if bad else ("stop" if reply[-1] in self._eos else "length"),
            timing=timing,
            error=NON_FINITE if bad else "",
        )

    def _note_encoder_batch(
        self, _encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        features = args[0] if args else kwargs["input_features"]
        self._encoder_batches.append(int(features.shape[0]))

    def _check_encoder_heard(self, num_clips: int) -> None:
        import transformers

        if self._encoder_batches != [num_clips]:
            raise ModelError(
                f"transformers {transformers.__version__}: the audio encoder ran on "
                f"{self._encoder_batches or 'no'} clips, the batch has {num_clips}; "
                "replies would not be about the audio"
            )


@contextmanager
def _named_failures(what: str) -> Iterator[None]:
    """Turns what transformers raises on broken files into one line."""
    from huggingface_hub import errors as hub_errors

    # Newer releases check configurations by a class of exceptions of their own.
    strict = getattr(hub_errors, "StrictDataclassError", OSError)
    kinds = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError)
    try:
        yield
    except (*kinds, strict) as error:
        detail = one_line(" ".join(str(error).split()))[:300]
        raise ModelError(f"{what}: {type(error).__name__}: {detail}") from error


def _refuse_partial_load(report: Mapping[str, Any], path: Path) -> None:
    missing = sorted(report.get("missing_keys", ()))
    mismatched = sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing or mismatched:
        names = ", ".join([*missing, *mismatched][:5])
        raise ModelError(
            f"{path}: {len(missing)} weights are missing and {len(mismatched)} have another "
            f"shape ({names}); transformers would fill them with random numbers"
        )
