"""Qwen2-Audio: its prompts, its token counts, its modules, and both engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from modeltest.backends.transformers import inputs
from modeltest.backends.transformers.architecture import QWEN2_AUDIO
from modeltest.backends.transformers.engines import Engine, FastEngine, StockEngine
from modeltest.backends.transformers.fast import only
from modeltest.backends.transformers.work import BatchShape, batch_work
from modeltest.errors import ModelError
from modeltest.protocols import Device
from modeltest.records import Prompt, Request, StageWork

_NUM_TEXTS = 256


class Qwen2Audio:
    """The adapter of Qwen2-Audio; see `Adapter`."""

    engines: tuple[str, ...] = ("fast", "stock")
    model_class = QWEN2_AUDIO
    joins_text = True

    def __init__(self, processor: Any) -> None:
        """Reads the feature extractor's settings of a Qwen2AudioProcessor."""
        self._processor = processor
        extractor = processor.feature_extractor
        self._hop = int(extractor.hop_length)
        self.sampling_rate_hz = int(extractor.sampling_rate)
        self.max_audio_s = float(extractor.chunk_length)
        self._audio_id = processor.tokenizer.convert_tokens_to_ids(inputs.AUDIO_TOKEN)
        self.num_text_tokens = lru_cache(_NUM_TEXTS)(self._count_text_tokens)
        self._encoder_batches: list[int] = []

    def render(self, prompt: Prompt, num_clips: int) -> str:
        """Raw, or by the chat template."""
        return inputs.render(self._processor, prompt, num_clips)

    def make_engine(self, name: str, device: Device, pad_id: int) -> Engine:
        """`fast` or `stock`."""
        if name == "fast":
            return FastEngine(self._processor, device, pad_id)
        return StockEngine(self._encode, watch_encoder, device, pad_id)

    def num_input_tokens(self, text: str, request: Request) -> int:
        """Text tokens and one per encoded audio frame."""
        return self.num_text_tokens(text) + self._num_audio_tokens(request)

    def token_counts(
        self, texts: Sequence[str], requests: Sequence[Request], prepared: Any
    ) -> list[tuple[int, int]]:
        """From the clips' lengths: some releases expand the audio token in the model only."""
        return [
            (self.num_input_tokens(text, request), self._num_audio_tokens(request))
            for text, request in zip(texts, requests, strict=True)
        ]

    def option_tokens(self, options: Sequence[str]) -> list[list[int]]:
        """The first tokens of "C" and " C"."""
        tokenizer = self._processor.tokenizer
        return [
            [tokenizer(before + option)["input_ids"][0] for before in ("", " ")]
            for option in options
        ]

    def attach(self, model: Any) -> None:
        """Counts the clips that the encoder gets."""
        encoder = only(model, "Qwen2AudioEncoder")
        encoder.register_forward_pre_hook(self._note_encoder_batch, with_kwargs=True)

    def begin_batch(self) -> None:
        """No clips yet."""
        self._encoder_batches.clear()

    def check_heard(self, num_clips: int) -> None:
        """One pass of the encoder over all clips."""
        import transformers

        if self._encoder_batches != [num_clips]:
            raise ModelError(
                f"transformers {transformers.__version__}: the audio encoder ran on "
                f"{self._encoder_batches or 'no'} clips, the batch has {num_clips}; "
                "replies would not be about the audio"
            )

    def work(
        self,
        model: Any,
        texts: Sequence[str],
        requests: Sequence[Request],
        output_tokens: int,
        fast: bool,
    ) -> Mapping[str, StageWork]:
        """See work.py."""
        shape = BatchShape(
            frames=[[-(-len(c.waveform) // self._hop) for c in r.audio] for r in requests],
            text_tokens=[self.num_text_tokens(text) for text in texts],
            output_tokens=[output_tokens] * len(requests),
        )
        return batch_work(model.config, shape, model.dtype.itemsize, fast)

    def _encode(self, texts: Sequence[str], requests: Sequence[Request]) -> Any:
        return inputs.encode(self._processor, texts, requests)

    def _num_audio_tokens(self, request: Request) -> int:
        return sum(inputs.num_audio_tokens(len(clip.waveform), self._hop) for clip in request.audio)

    def _count_text_tokens(self, text: str) -> int:
        ids = self._processor.tokenizer(text)["input_ids"]
        return sum(token != self._audio_id for token in ids)

    def _note_encoder_batch(
        self, _encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        features = args[0] if args else kwargs["input_features"]
        self._encoder_batches.append(int(features.shape[0]))


def watch_encoder(model: Any, starts: Callable[[], None], done: Callable[[], None]) -> None:
    """Tells when the encoder starts and when the projector behind it ends."""
    only(model, "Qwen2AudioEncoder").register_forward_pre_hook(lambda *_: starts())
    only(model, "Qwen2AudioMultiModalProjector").register_forward_hook(lambda *_: done())
