"""Batches for the fast engine: tokens expanded by hand, features on the real length, checked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from modeltest.backends.transformers import trim
from modeltest.backends.transformers.fast import Batch
from modeltest.backends.transformers.inputs import AUDIO_TOKEN, num_audio_tokens
from modeltest.backends.transformers.log_mel import LogMel
from modeltest.errors import ModelError
from modeltest.records import Request

_NUM_TEXTS = 256


class BatchBuilder:
    """Makes the batches of one processor; knows the texts that it tokenised before."""

    def __init__(self, processor: Any, max_positions: int) -> None:
        self._tokenizer = processor.tokenizer
        self._audio_id = int(self._tokenizer.convert_tokens_to_ids(AUDIO_TOKEN))
        self._pad_id = int(self._tokenizer.pad_token_id)
        self._log_mel = LogMel(processor.feature_extractor)
        self._max_positions = max_positions
        self._token_ids = lru_cache(_NUM_TEXTS)(self._tokenize)

    def build(self, texts: Sequence[str], requests: Sequence[Request]) -> Batch:
        """A batch on the host.

        Args:
            texts: The rendered inputs with one audio token per clip, one per request.
            requests: The requests, whose clips are at the processor's rate.

        Raises:
            ModelError: A text has another number of audio tokens than clips.
        """
        import torch

        waveforms = [clip.waveform for request in requests for clip in request.audio]
        frames = [self._log_mel.num_frames(waveform) for waveform in waveforms]
        positions = trim.positions_needed(max(frames), self._max_positions)
        features = self._log_mel(waveforms, positions * trim.FRAMES_PER_POSITION)
        rows = [self._row(text, request) for text, request in zip(texts, requests, strict=True)]
        width = max(len(row) for row in rows)
        input_ids = torch.tensor([[self._pad_id] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        # The pad token may be any token of the vocabulary, the audio token included.
        is_audio = (input_ids == self._audio_id) & mask.bool()
        return Batch(input_ids, mask, features, torch.tensor(frames), is_audio)

    def _tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text)["input_ids"])

    def _row(self, text: str, request: Request) -> list[int]:
        """Token ids of one request, each audio token repeated as often as its clip needs."""
        ids = self._token_ids(text)
        if ids.count(self._audio_id) != len(request.audio):
            raise ModelError(
                f"the tokenizer made {ids.count(self._audio_id)} audio tokens of the prompt for "
                f"{len(request.audio)} clips; the checkpoint's tokenizer files do not fit it"
            )
        clips = iter(request.audio)
        row: list[int] = []
        for token in ids:
            count = 1
            if token == self._audio_id:
                count = num_audio_tokens(len(next(clips).waveform), self._log_mel.hop_length)
            row += [token] * count
        return row
