"""The two engines of `bench_eval` that run in its own process: modeltest's, and a user's loop."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.devices.cpu import CpuDevice
from modeltest.protocols import Device
from modeltest.records import (
    AUDIO_PLACEHOLDER,
    Audio,
    Generation,
    Prompt,
    Request,
    Response,
    StageWork,
)
from support.clips import SAMPLING_RATE_HZ, Waveform
from support.random_model import NUM_PROMPT_TOKENS, PROMPT, Shape

AUDIO_TAGS = "<|audio_bos|><|AUDIO|><|audio_eos|>"
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One engine's answers to all clips of a round.

    Attributes:
        seconds: For all clips; features and tokens to text included.
        ids: New tokens per clip, in the order given.
        stages_s: Seconds per stage, all batches together; empty where unknown.
        work: Work per stage, all batches together; empty where unknown.
    """

    seconds: float
    ids: list[Ids]
    stages_s: dict[str, float]
    work: dict[str, StageWork]


class FastEngine:
    """modeltest's backend, asked as an evaluation asks it: sorted by length, in batches."""

    def __init__(self, folder: Path, shape: Shape, limits: Limits) -> None:
        self.limits = limits
        self._device: Device = CpuDevice()
        settings = TransformersSettings(folder, shape.data_type, "sdpa", engine="fast")
        self._backend = TransformersBackend(settings, self._device)
        self._backend.load()

    @property
    def device(self) -> Device:
        """Where it runs."""
        return self._device

    @property
    def backend(self) -> TransformersBackend:
        """What answers."""
        return self._backend

    def run(self, clips: Sequence[Waveform]) -> Outcome:
        """Answers all clips; decoding files is no part of it."""
        requests = self._requests(clips)
        order = list(range(len(clips)))
        if not self.limits.in_order:
            order.sort(key=lambda index: len(clips[index]))
        size = self.limits.batch_size
        indices = [order[first : first + size] for first in range(0, len(order), size)]
        batches = [[requests[index] for index in batch] for batch in indices]
        start_s = time.perf_counter()
        replies = list(self._answer(batches))
        seconds = time.perf_counter() - start_s
        ids: list[Ids] = [()] * len(clips)
        for batch, answers in zip(indices, replies, strict=True):
            for index, answer in zip(batch, answers, strict=True):
                if answer.error:
                    raise RuntimeError(answer.error)
                ids[index] = answer.output_ids
        return Outcome(seconds, ids, _sum_stages(replies), self._sum_work(batches))

    def stock_flops(self, clips: Sequence[Waveform]) -> float:
        """What stock executes on the same clips: 30 s each, batches in the order given."""
        from modeltest.backends.transformers.work import BatchShape, batch_work

        total, size = 0.0, self.limits.batch_size
        hop = int(self._backend.processor.feature_extractor.hop_length)
        for first in range(0, len(clips), size):
            frames = [[-(-len(clip) // hop)] for clip in clips[first : first + size]]
            rows = len(frames)
            shape = BatchShape(frames, [NUM_PROMPT_TOKENS] * rows, [self.limits.new_tokens] * rows)
            work = batch_work(self._backend.model.config, shape, bytes_per_value=4, fast=False)
            total += sum(stage.executed_flops for stage in work.values())
        return total

    def _requests(self, clips: Sequence[Waveform]) -> list[Request]:
        prompt = Prompt(PROMPT.replace(AUDIO_TAGS, AUDIO_PLACEHOLDER), "raw")
        generation = Generation(self.limits.new_tokens, ignore_eos=True)
        requests = []
        for index, clip in enumerate(clips):
            digest = hashlib.sha256(clip.tobytes()).hexdigest()
            audio = Audio(clip, SAMPLING_RATE_HZ, digest, len(clip) / SAMPLING_RATE_HZ)
            requests.append(Request(str(index), (audio,), prompt, generation))
        return requests

    def _answer(self, batches: list[list[Request]]) -> Iterator[list[Response]]:
        """Answers batch by batch; with `prefetch` the next one is prepared meanwhile."""
        if not self.limits.prefetch:
            for batch in batches:
                yield self._backend.generate(batch)
            return
        with ThreadPoolExecutor(max_workers=1) as worker:
            coming = worker.submit(self._backend.prepare, batches[0])
            for number, batch in enumerate(batches):
                prepared = coming.result()
                if number + 1 < len(batches):
                    coming = worker.submit(self._backend.prepare, batches[number + 1])
                yield self._backend.generate(batch, prepared)

    def _sum_work(self, batches: list[list[Request]]) -> dict[str, StageWork]:
        total: dict[str, StageWork] = {}
        for batch in batches:
            for stage, work in self._backend.work(batch, self.limits.new_tokens).items():
                known = total.get(stage, StageWork(0.0, 0.0, 0.0))
                total[stage] = replace(
                    known,
                    useful_flops=known.useful_flops + work.useful_flops,
                    executed_flops=known.executed_flops + work.executed_flops,
                    num_bytes=known.num_bytes + work.num_bytes,
                )
        return total


@dataclass(frozen=True, slots=True)
class Limits:
    """How all engines are asked.

    Attributes:
        batch_size: Clips per batch.
        new_tokens: Exactly so many per reply; end tokens are ignored.
        prefetch: modeltest prepares the next batch while the model computes.
        in_order: modeltest takes the clips in the order given instead of by length.
    """

    batch_size: int
    new_tokens: int
    prefetch: bool
    in_order: bool = False


class StockLoop:
    """What a user writes: processor and `generate`, clips in the order given; no modeltest."""

    def __init__(self, folder: Path, shape: Shape, limits: Limits) -> None:
        import torch
        import transformers

        self.limits = limits
        self._processor = transformers.AutoProcessor.from_pretrained(folder)
        self._processor.tokenizer.padding_side = "left"
        self._model = transformers.Qwen2AudioForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, shape.torch_dtype)
        ).eval()
        # In place of the checkpoint's: greedy, and no token ends a reply.
        self._model.generation_config = transformers.GenerationConfig(
            max_new_tokens=limits.new_tokens,
            do_sample=False,
            pad_token_id=self._processor.tokenizer.pad_token_id,
        )

    def run(self, clips: Sequence[Waveform]) -> Outcome:
        """Answers all clips, texts included."""
        import torch

        size = self.limits.batch_size
        ids: list[Ids] = []
        start_s = time.perf_counter()
        for first in range(0, len(clips), size):
            batch = list(clips[first : first + size])
            inputs = self._processor(
                text=[PROMPT] * len(batch),
                audio=batch,
                sampling_rate=SAMPLING_RATE_HZ,
                return_tensors="pt",
                padding=True,
            )
            inputs["input_features"] = inputs["input_features"].to(self._model.dtype)
            with torch.inference_mode():
                rows = self._model.generate(**inputs)
            new = rows[:, inputs["input_ids"].shape[1] :]
            self._processor.batch_decode(new, skip_special_tokens=True)
            ids += [tuple(row) for row in new.tolist()]
        return Outcome(time.perf_counter() - start_s, ids, {}, {})


def _sum_stages(replies: list[list[Response]]) -> dict[str, float]:
    """Seconds per stage; all replies of a batch share their times."""
    total: dict[str, float] = {}
    for timing in (answers[0].timing for answers in replies):
        if timing is None or timing.stages is None:
            return {}
        stages = timing.stages
        spent: dict[str, Any] = {
            "features": stages.feature_s,
            "encoder": stages.encoder_s,
            "prefill": stages.prefill_s,
            "decode": sum(stages.step_s),
            "detokenise": stages.detokenize_s,
        }
        for stage, seconds in spent.items():
            total[stage] = total.get(stage, 0.0) + seconds
    return total
