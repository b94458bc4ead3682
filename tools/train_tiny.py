#!/usr/bin/env python3
"""Trains qwen2_audio_tiny, a real but tiny Qwen2-Audio model, on synthetic vocal sounds.

Needs transformers 4.46.2, so that the files have the layout of the real checkpoint; they load
with 5.x too. Takes about 12 minutes on two CPU cores.

Usage:
    python tools/train_tiny.py --output modeltest/assets/qwen2_audio_tiny
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from tiny_data import AudioBatch, Example, batches, make_examples
from tiny_eval import evaluate, table
from tiny_model import WIDTH, AnswerTask, build_model, pooled_audio
from tiny_text import ANSWERS, OTHER_QUESTIONS, PROMPTS, QUESTION, save_processor
from torch import nn
from transformers import Qwen2AudioForConditionalGeneration, WhisperFeatureExtractor

NEEDED_TRANSFORMERS = "4.46.2"
THREADS = 2
SEED = 20240717
BATCH = 32
OTHER_QUESTION_SHARE = 0.2
REPORT_EVERY = 50
# Speakers' numbers; the splits' names alone already keep the populations apart.
# Populations of speakers by name; vocalsound_mini's is called otherwise and has other numbers.
POPULATIONS = {"training": range(4000, 10_000), "validation": range(3000, 3040)}


@dataclass(frozen=True)
class Plan:
    """How long to train.

    Attributes:
        speakers: Training speakers, with one clip per class each.
        encoder_steps: Updates of the audio tower with a throw-away classifier.
        answer_steps: Updates of the whole model on answers.
    """

    speakers: int
    encoder_steps: int
    answer_steps: int


def endless(examples: list[Example], rng: np.random.Generator) -> Iterator[AudioBatch]:
    """Yields augmented training batches for ever."""
    while True:
        yield from batches(examples, BATCH, rng)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Returns the rate at a step: a linear rise, then half a cosine down to zero."""
    rise = max(1, min(100, steps // 10))
    if step < rise:
        return peak * (step + 1) / rise
    return 0.5 * peak * (1.0 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _update(optimizer: torch.optim.Optimizer, loss: torch.Tensor, step: int, steps: int) -> None:
    """Makes one step of gradient descent at the schedule's rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, steps, group["peak"])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def _optimizer(groups: list[tuple[Iterator[nn.Parameter], float]]) -> torch.optim.Optimizer:
    """Returns AdamW with one peak rate for each group of parameters."""
    settings = [
        {"params": [value for value in values if value.requires_grad], "peak": peak}
        for values, peak in groups
    ]
    return torch.optim.AdamW(settings, betas=(0.9, 0.98), weight_decay=0.05)


class Progress:
    """Prints loss, validation accuracy and remaining time now and then.

    Args:
        name: What is being trained.
        steps: Updates in all.
    """

    def __init__(self, name: str, steps: int) -> None:
        self._name, self._steps = name, steps
        self._started_s = time.monotonic()
        self._losses: list[float] = []

    def due(self, step: int, loss: float) -> bool:
        """Notes a loss; returns whether to validate and report now."""
        self._losses.append(loss)
        return (step + 1) % REPORT_EVERY == 0 or step + 1 == self._steps

    def report(self, step: int, accuracy: float) -> None:
        """Prints one line."""
        spent_s = time.monotonic() - self._started_s
        left_s = spent_s / (step + 1) * (self._steps - step - 1)
        loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        print(
            f"{self._name} step {step + 1}/{self._steps}  loss {loss:.3f}  "
            f"validation {100 * accuracy:.1f} %  {spent_s:.0f} s, {left_s:.0f} s left",
            flush=True,
        )


def train_encoder(
    model: Qwen2AudioForConditionalGeneration,
    training: list[Example],
    validation: list[Example],
    steps: int,
) -> None:
    """Trains audio tower and projector with a linear classifier that is thrown away.

    Answers alone teach the tower slowly, since the language model has to learn at the same time.
    """
    head = nn.Linear(WIDTH, len(ANSWERS))
    parts = nn.ModuleList([model.audio_tower, model.multi_modal_projector, head])
    optimizer = _optimizer([(parts.parameters(), 1e-3)])
    progress = Progress("encoder", steps)
    source = endless(training, np.random.default_rng(SEED))
    for step, batch in enumerate(itertools.islice(source, steps)):
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(pooled_audio(model, batch))
        loss = nn.functional.cross_entropy(logits.float(), batch.labels, label_smoothing=0.05)
        _update(optimizer, loss, step, steps)
        if progress.due(step, loss.item()):
            with torch.no_grad():
                correct = sum(
                    int((head(pooled_audio(model, some)).argmax(-1) == some.labels).sum())
                    for some in batches(validation, BATCH, None)
                )
            progress.report(step, correct / len(validation))


def _draw_prompts(rng: np.random.Generator, count: int) -> list[str]:
    """Draws prompts, half raw and half chat, a fifth with another question."""
    forms = list(PROMPTS.values())
    prompts = []
    for _ in range(count):
        other = rng.random() < OTHER_QUESTION_SHARE
        question = OTHER_QUESTIONS[int(rng.integers(len(OTHER_QUESTIONS)))] if other else QUESTION
        prompts.append(forms[int(rng.integers(len(forms)))](question))
    return prompts


def train_answers(
    model: Qwen2AudioForConditionalGeneration,
    task: AnswerTask,
    training: list[Example],
    validation: list[Example],
    steps: int,
) -> None:
    """Trains projector and language model to answer both forms of prompt; freezes the tower."""
    model.audio_tower.requires_grad_(False)
    optimizer = _optimizer(
        [
            (model.multi_modal_projector.parameters(), 3e-4),
            (model.language_model.parameters(), 1e-3),
        ]
    )
    progress = Progress("answers", steps)
    rng = np.random.default_rng(SEED + 1)
    for step, batch in enumerate(itertools.islice(endless(training, rng), steps)):
        loss, _ = task.forward(model, batch, _draw_prompts(rng, len(batch.labels)))
        _update(optimizer, loss, step, steps)
        if progress.due(step, loss.item()):
            progress.report(step, validate(model, task, validation))


@torch.no_grad()
def validate(
    model: Qwen2AudioForConditionalGeneration, task: AnswerTask, examples: list[Example]
) -> float:
    """Returns the share of right letters, the prompt forms taking turns."""
    model.eval()
    forms = itertools.cycle(PROMPTS.values())
    correct = 0
    for batch in batches(examples, BATCH, None):
        prompts = [form() for form, _ in zip(forms, batch.labels, strict=False)]
        correct += task.forward(model, batch, prompts)[1]
    model.train()
    return correct / len(examples)


def load_examples(
    plan: Plan, extractor: WhisperFeatureExtractor
) -> tuple[list[Example], list[Example]]:
    """Returns training and validation clips; neither shares a speaker with vocalsound_mini."""
    started_s = time.monotonic()
    numbers = POPULATIONS["training"][: plan.speakers]
    training = make_examples("training", numbers, extractor, THREADS)
    validation = make_examples("validation", POPULATIONS["validation"], extractor, THREADS)
    print(
        f"synthesised {len(training)} training and {len(validation)} validation clips "
        f"in {time.monotonic() - started_s:.0f} s",
        flush=True,
    )
    return training, validation


def train(folder: Path, plan: Plan) -> None:
    """Trains from nothing and writes the model folder."""
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    processor = save_processor(folder)
    model = build_model(processor.tokenizer)
    task = AnswerTask(processor.tokenizer)
    training, validation = load_examples(plan, processor.feature_extractor)
    model.train()
    train_encoder(model, training, validation, plan.encoder_steps)
    train_answers(model, task, training, validation, plan.answer_steps)
    model.to(torch.bfloat16).save_pretrained(folder)
    # safetensors makes its file readable by the owner alone.
    (folder / "model.safetensors").chmod(0o644)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="model folder to write; it is made if missing",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="vocalsound_mini; if given, the finished model is scored on it",
    )
    parser.add_argument(
        "--speakers",
        type=int,
        default=500,
        metavar="N",
        help="training speakers (default: %(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs=2,
        default=(500, 220),
        metavar=("ENCODER", "ANSWERS"),
        help="updates of the two stages (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def _complaint(options: argparse.Namespace) -> str | None:
    """Returns what is wrong with the options or the installation, if anything."""
    if transformers.__version__ != NEEDED_TRANSFORMERS:
        return f"needs transformers {NEEDED_TRANSFORMERS}, found {transformers.__version__}"
    if options.output.exists() and not options.output.is_dir():
        return f"{options.output} is not a folder"
    if options.data and not (options.data / "datafiles" / "te.json").is_file():
        return f"{options.data} has no datafiles/te.json"
    most = len(POPULATIONS["training"])
    if not 1 <= options.speakers <= most or min(options.steps) < 1:
        return f"speakers is 1 to {most}, and steps are positive"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    options = _parse(arguments)
    complaint = _complaint(options)
    if complaint:
        print(f"train_tiny: {complaint}", file=sys.stderr)
        return 2
    started_s = time.monotonic()
    train(options.output, Plan(options.speakers, *options.steps))
    digest = hashlib.sha256((options.output / "model.safetensors").read_bytes()).hexdigest()
    print(
        f"trained in {(time.monotonic() - started_s) / 60:.1f} minutes, "
        f"model.safetensors SHA-256 {digest}"
    )
    if options.data:
        print(table(evaluate(options.output, options.data)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
