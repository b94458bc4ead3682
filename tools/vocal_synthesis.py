"""Synthetic speakers and their recorded non-speech sounds.

`synthesize` is a pure function of speaker, class and take: every draw comes from a generator
seeded by a hash of those three, so that the same call always gives the same samples.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from vocal_gestures import GESTURES
from vocal_habits import Habits, draw_habits
from vocal_room import record
from vocal_source import SAMPLE_RATE_HZ, Event, Signal, render_event

LABELS: tuple[str, ...] = tuple(GESTURES)
SHORTEST_S = 0.65
LONGEST_S = 11.5

_AGE_GROUPS = ((18, 25), (26, 48), (49, 80))
_ORIGINS = (
    ("United States", "English"),
    ("United States", "Spanish"),
    ("India", "Hindi"),
    ("India", "Tamil"),
    ("Brazil", "Portuguese"),
    ("Italy", "Italian"),
    ("United Kingdom", "English"),
    ("Germany", "German"),
    ("China", "Mandarin"),
    ("Kenya", "Swahili"),
    ("Canada", "French"),
    ("Philippines", "Tagalog"),
)


def _generator(*key: str | int) -> np.random.Generator:
    """Returns a generator whose stream depends on `key` alone."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


@dataclass(frozen=True)
class Speaker:
    """One synthetic person.

    Attributes:
        split: Name of the speaker's population; different names share no random draws.
        speaker_id: "f" or "m" and a number, for example "f0003".
        age_years: 18 to 80.
        country: Made-up country of residence.
        native_language: Made-up first language.
        health: "no" where no condition affects the voice.
        habits: How the person sounds.
    """

    split: str
    speaker_id: str
    age_years: int
    country: str
    native_language: str
    health: str
    habits: Habits

    @property
    def gender(self) -> str:
        """Returns "female" or "male", as in VocalSound's metadata."""
        return "female" if self.speaker_id.startswith("f") else "male"

    @classmethod
    def from_seed(cls, split: str, number: int) -> Speaker:
        """Draws the speaker with this number; odd numbers are women, even ones men.

        Args:
            split: Name of the population.
            number: 0 to 9999, the digits of the speaker's id.

        Raises:
            ValueError: If the number has more than four digits or is negative.
        """
        if not 0 <= number <= 9999:
            raise ValueError(f"a speaker's number is 0 to 9999, not {number}")
        letter = "f" if number % 2 else "m"
        rng = _generator("speaker", split, number)
        # Half the number walks through the groups, so that each has women and men.
        low, high = _AGE_GROUPS[(number // 2) % len(_AGE_GROUPS)]
        age_years = int(rng.integers(low, high + 1))
        country, language = _ORIGINS[int(rng.integers(len(_ORIGINS)))]
        health = "cold" if rng.random() < 0.08 else "no"
        habits = draw_habits(rng, letter == "f", age_years, health != "no")
        return cls(split, f"{letter}{number:04d}", age_years, country, language, health, habits)


def _fit(events: list[Event], span_s: float) -> list[Event]:
    """Squeezes events in time until the last one ends within `span_s`."""
    end_s = max(event.start_s + event.length_s for event in events)
    factor = min(1.0, span_s / end_s)
    return [
        replace(event, start_s=event.start_s * factor, length_s=event.length_s * factor)
        for event in events
    ]


def _draw_events(
    rng: np.random.Generator, habits: Habits, label: str, span_s: float
) -> list[Event]:
    """Draws bouts of one gesture until `span_s` seconds are used up or the person stops."""
    events = _fit(GESTURES[label](rng, habits, span_s), span_s)
    while rng.random() < 0.7:
        start_s = max(event.start_s + event.length_s for event in events)
        start_s += float(rng.uniform(0.25, 1.0))
        bout = GESTURES[label](rng, habits, span_s - start_s)
        if start_s + max(event.start_s + event.length_s for event in bout) > span_s:
            break
        events += [replace(event, start_s=event.start_s + start_s) for event in bout]
    return events


def synthesize(speaker: Speaker, label: str, take: int) -> NDArray[np.float32]:
    """Synthesises one recording.

    Args:
        speaker: Who makes the sound.
        label: One of `LABELS`.
        take: Number of the take; each sounds different.

    Returns:
        Mono samples at 16 kHz in -1 to 1, shape (samples,), 0.65 to 11.5 s long.

    Raises:
        ValueError: If the label is unknown.
    """
    if label not in GESTURES:
        raise ValueError(f"unknown class {label!r}; known: {', '.join(LABELS)}")
    rng = _generator("take", speaker.split, speaker.speaker_id, label, take)
    length_s = float(np.clip(np.exp(rng.normal(0.72, 0.62)), SHORTEST_S, LONGEST_S))
    habits = speaker.habits
    span_s = 0.92 * length_s
    events = _draw_events(rng, habits, label, span_s)
    used_s = max(event.start_s + event.length_s for event in events)
    lead_s = float(rng.uniform(0.01, 1.0)) * max(length_s - used_s - 0.02, 0.0)
    dry: Signal = np.zeros(int(length_s * SAMPLE_RATE_HZ))
    for event in events:
        sound = render_event(rng, event, habits.voice)
        first = int((lead_s + event.start_s) * SAMPLE_RATE_HZ)
        sound = sound[: len(dry) - first]
        dry[first : first + len(sound)] += sound
    return record(rng, dry).astype(np.float32)
