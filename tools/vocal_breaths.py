"""The two gestures that are mostly breath: sigh and sniff."""

from __future__ import annotations

import numpy as np
from vocal_habits import Habits, band, pitch
from vocal_source import Event


def sigh(rng: np.random.Generator, habits: Habits, span_s: float) -> list[Event]:
    """A breath in, then a long breath out whose spectrum falls, sometimes voiced."""
    weak = rng.random() < habits.weakness
    out_s = float(rng.uniform(0.35, 0.7) if weak else rng.uniform(0.7, 2.2))
    out_s = min(out_s, max(0.4, 0.8 * span_s))
    events = []
    start_s = 0.0
    if rng.random() < 0.6 and span_s > 0.9:
        events.append(_inhale(rng, habits))
        start_s = events[0].length_s + float(rng.uniform(0.02, 0.25))
    mouth = str(rng.choice(["schwa", "a", "o", "u", "nose"], p=[0.35, 0.25, 0.2, 0.1, 0.1]))
    attack_s = min(float(rng.uniform(0.05, 0.3)), 0.4 * out_s)
    decay = float(rng.uniform(1.2, 3.0))
    nasal = 0.8 if mouth == "nose" else 0.0
    events.append(
        Event(
            start_s,
            out_s,
            noise=habits.energy,
            vowels=(mouth, "schwa"),
            band_hz=band(rng, habits, 1900.0, 800.0),
            attack_s=attack_s,
            decay=decay,
            nasal=nasal,
        )
    )
    if not weak and rng.random() < 0.6 * habits.voiced_share:
        events.append(
            Event(
                start_s + 0.1 * out_s,
                0.8 * out_s,
                attack_s=attack_s,
                decay=decay,
                voice=float(rng.uniform(0.1, 0.7)),
                vowels=(mouth, "schwa"),
                f0_hz=pitch(habits, rng.uniform(1.0, 1.4), 0.75),
                nasal=nasal,
            )
        )
    return events


def _inhale(rng: np.random.Generator, habits: Habits) -> Event:
    """The breath in before a sigh, through mouth or nose."""
    in_s = float(rng.uniform(0.3, 0.9))
    return Event(
        0.0,
        in_s,
        noise=0.35 * habits.energy,
        vowels=("schwa", "ae"),
        band_hz=band(rng, habits, 1300.0, 2300.0),
        attack_s=0.6 * in_s,
        decay=0.6,
        nasal=float(rng.choice([0.0, 0.8])),
    )


def sniff(rng: np.random.Generator, habits: Habits, span_s: float) -> list[Event]:
    """One to six short breaths in through the nose."""
    weak = rng.random() < habits.weakness
    count = 1 if weak else int(np.clip(rng.integers(1, 7), 1, max(1, span_s / 0.4)))
    length_s = float(rng.uniform(0.35, 0.7) if weak else rng.uniform(0.1, 0.4))
    gap_s = float(rng.uniform(0.12, 0.55))
    low_hz = float(rng.uniform(1100.0, 2300.0))
    rise = float(rng.uniform(0.9, 1.8))
    events = []
    start_s = 0.0
    for _ in range(count):
        this_s = length_s * float(np.exp(rng.normal(0.0, 0.12)))
        gain = habits.energy * float(np.exp(rng.normal(0.0, 0.25)))
        events.append(
            Event(
                start_s,
                this_s,
                noise=gain,
                vowels=("nose", "nose"),
                band_hz=band(rng, habits, low_hz, low_hz * rise),
                band_octaves=1.0,
                attack_s=this_s * float(rng.uniform(0.15, 0.6)),
                decay=float(rng.uniform(0.3, 1.2)),
                nasal=float(rng.uniform(0.4, 1.0)),
                rough=float(rng.choice([0.0, 0.3])),
                rough_hz=45.0,
            )
        )
        start_s += this_s + gap_s * float(np.exp(rng.normal(0.0, 0.15)))
    return events
