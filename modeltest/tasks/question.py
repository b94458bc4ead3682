"""What all kinds of tasks take from their file in the same way: the prompt and the slices."""

from __future__ import annotations

from collections.abc import Mapping

from modeltest.records import AUDIO_PLACEHOLDER, Prompt
from modeltest.settings.schema import SliceSettings, TaskSettings


def make_prompt(settings: TaskSettings, question: str) -> Prompt:
    """A question as it is sent: for `raw` inside `raw_prompt`, behind all clips' places."""
    if settings.prompt_format == "chat":
        return Prompt(text=question, format="chat")
    clips = AUDIO_PLACEHOLDER * settings.num_clips
    return Prompt(text=settings.raw_prompt.format(audio=clips, prompt=question), format="raw")


def slices_of(metadata: Mapping[str, str], slices: SliceSettings) -> tuple[str, ...]:
    """Names of the slices of a task file for which a sample has metadata."""
    by_key = tuple(f"{key}={metadata[key]}" for key in slices.by if metadata.get(key))
    return (*by_key, *_age_subsets(metadata, slices.age_ranges))


def _age_subsets(metadata: Mapping[str, str], ranges: tuple[str, ...]) -> tuple[str, ...]:
    try:
        age = int(float(metadata.get("age", "")))  # tables spell whole years as 27.0, too
    except (ValueError, OverflowError):
        return ()
    bounds = (tuple(map(int, each.split("-"))) for each in ranges)
    return tuple(f"age={low}-{high}" for low, high in bounds if low <= age <= high)
