"""Voices and habits: what makes one synthetic person sound different from another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from vocal_source import Voice


@dataclass(frozen=True)
class Habits:
    """How one person tends to make the sounds.

    Attributes:
        f0_hz: Speaking pitch.
        voice: Tract and folds.
        energy: Vigour, around 1.
        breathiness: Turbulence relative to voice, around 1.
        laugh_rate_hz: Laughter bursts per second.
        laugh_vowel: Key of ``VOWELS_HZ``.
        voiced_share: Probability that an optional voiced part is there.
        hiss_scale: Factor on the centre frequencies of turbulence.
        weakness: Probability of a restrained take.
    """

    f0_hz: float
    voice: Voice
    energy: float
    breathiness: float
    laugh_rate_hz: float
    laugh_vowel: str
    voiced_share: float
    hiss_scale: float
    weakness: float


def draw_habits(rng: np.random.Generator, female: bool, age_years: int, ill: bool) -> Habits:
    """Draws a voice and habits that fit sex, age and health."""
    old = max(0.0, (age_years - 45) / 35.0)
    f0_hz = float(rng.normal(205.0, 22.0) if female else rng.normal(118.0, 16.0))
    f0_hz *= 1.0 - 0.12 * old if female else 1.0 + 0.08 * old
    voice = Voice(
        formant_scale=float(rng.normal(1.16 if female else 1.0, 0.045)),
        bandwidth_scale=float(rng.uniform(0.8, 1.6)),
        open_quotient=float(rng.uniform(0.5, 0.85)),
        jitter=float(rng.uniform(0.004, 0.02) + 0.015 * old),
        shimmer=float(rng.uniform(0.02, 0.1) + 0.08 * old + 0.08 * ill),
        nasal_zero_hz=float(rng.uniform(500.0, 1100.0)),
    )
    return Habits(
        f0_hz=f0_hz,
        voice=voice,
        energy=float(np.exp(rng.normal(0.0, 0.2))),
        breathiness=float(np.exp(rng.normal(0.0, 0.35))),
        laugh_rate_hz=float(rng.uniform(3.4, 5.8)),
        laugh_vowel=str(rng.choice(["a", "ae", "e", "i", "o", "schwa"])),
        voiced_share=float(rng.uniform(0.25, 0.95)),
        hiss_scale=float(np.exp(rng.normal(0.05 if female else -0.05, 0.13))),
        weakness=float(rng.uniform(0.05, 0.35)),
    )


def band(rng: np.random.Generator, habits: Habits, start: float, end: float) -> tuple[float, float]:
    """Returns turbulence centres around the given ones in Hz, moved by person and take."""
    factor = habits.hiss_scale * float(np.exp(rng.normal(0.0, 0.15)))
    return (start * factor, end * factor)


def pitch(habits: Habits, start: float, end: float) -> tuple[float, float]:
    """Returns start and end pitch in Hz, given as multiples of the speaking pitch."""
    return (habits.f0_hz * start, habits.f0_hz * end)
