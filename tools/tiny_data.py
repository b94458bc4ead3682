"""Training examples of the tiny Qwen2-Audio model: synthetic clips as log-mel frames."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor
from vocal_synthesis import LABELS, Speaker, synthesize

MEL_BINS = 128
# The encoder's convolutions look two frames past the last one that counts.
_MARGIN_FRAMES = 4
_LARGEST_BATCH_FRAMES = 12_000


@dataclass(frozen=True)
class Example:
    """One clip as the stock feature extractor sees it.

    Attributes:
        label: Index into `LABELS`.
        mel: Log-mel frames and a short margin behind them, shape (MEL_BINS, frames + margin).
        frames: How many frames the feature extractor's attention mask counts.
    """

    label: int
    mel: NDArray[np.float32]
    frames: int


@dataclass(frozen=True)
class AudioBatch:
    """Clips of similar length, cut to the longest one.

    Attributes:
        features: Log-mel frames, shape (clips, MEL_BINS, 2 * rows).
        mask: 1 where a frame counts, shape (clips, 2 * rows).
        labels: Indices into `LABELS`, shape (clips,).
        rows: Encoder positions that the batch needs; even.
    """

    features: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    rows: int


def _examples_of(task: tuple[str, int, WhisperFeatureExtractor]) -> list[Example]:
    """Synthesises all clips of one speaker and extracts their features."""
    split, number, extractor = task
    torch.set_num_threads(1)
    speaker = Speaker.from_seed(split, number)
    examples = []
    for label, name in enumerate(LABELS):
        samples = synthesize(speaker, name, 0)
        inputs = extractor(
            samples, sampling_rate=16_000, return_attention_mask=True, return_tensors="np"
        )
        frames = int(inputs["attention_mask"].sum())
        mel = inputs["input_features"][0, :, : frames + _MARGIN_FRAMES]
        examples.append(Example(label, np.ascontiguousarray(mel), frames))
    return examples


def make_examples(
    split: str, numbers: range, extractor: WhisperFeatureExtractor, workers: int
) -> list[Example]:
    """Synthesises and extracts one clip per class of each numbered speaker.

    Args:
        split: Name of the speakers' population.
        numbers: The speakers.
        extractor: The stock feature extractor.
        workers: Processes to use; the result does not depend on it.
    """
    tasks = [(split, number, extractor) for number in numbers]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [
            example for group in pool.map(_examples_of, tasks, chunksize=4) for example in group
        ]


def _augment(rng: np.random.Generator, mel: NDArray[np.float32], frames: int) -> None:
    """Changes the level and blanks bands and moments of one clip, in place."""
    floor = float(mel.min())
    for _ in range(int(rng.integers(0, 3))):
        low = int(rng.integers(0, MEL_BINS - 14))
        mel[low : low + int(rng.integers(1, 15))] = floor
    for _ in range(int(rng.integers(0, 3))):
        start = int(rng.integers(0, frames))
        mel[:, start : start + int(rng.integers(1, 4 + frames // 12))] = floor
    mel += np.float32(rng.normal(0.0, 0.15))


def collate(examples: list[Example], rng: np.random.Generator | None = None) -> AudioBatch:
    """Stacks clips, cut to the longest one; with a generator, augments them.

    Args:
        examples: The clips.
        rng: Draws the augmentation; None leaves the clips as they are.
    """
    longest_rows = max((example.frames - 1) // 2 + 1 for example in examples)
    rows = 2 * (longest_rows // 2 + 1)
    features = np.empty((len(examples), MEL_BINS, 2 * rows), np.float32)
    mask = np.zeros((len(examples), 2 * rows), np.int64)
    for index, example in enumerate(examples):
        mel = example.mel[:, : 2 * rows].copy()
        if rng is not None:
            _augment(rng, mel, example.frames)
        features[index] = mel.min()
        features[index, :, : mel.shape[1]] = mel
        mask[index, : example.frames] = 1
    labels = torch.tensor([example.label for example in examples])
    return AudioBatch(torch.from_numpy(features), torch.from_numpy(mask), labels, rows)


def batches(
    examples: list[Example], size: int, rng: np.random.Generator | None
) -> Iterator[AudioBatch]:
    """Yields all clips once in batches of similar length.

    Args:
        examples: The clips.
        size: Clips in a batch; fewer where the clips are long.
        rng: Shuffles and augments; None keeps order of length and clips as they are.
    """
    frames = np.array([example.frames for example in examples], dtype=np.float64)
    if rng is not None:
        frames *= np.exp(rng.normal(0.0, 0.05, size=len(frames)))
    groups: list[list[Example]] = [[]]
    for index in np.argsort(frames, kind="stable"):
        group = groups[-1]
        too_long = (len(group) + 1) * examples[index].frames > _LARGEST_BATCH_FRAMES
        if len(group) == size or (group and too_long):
            groups.append([])
        groups[-1].append(examples[index])
    order = rng.permutation(len(groups)) if rng is not None else np.arange(len(groups))
    for position in order:
        yield collate(groups[position], rng)
