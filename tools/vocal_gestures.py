"""The six vocal gestures as lists of sound events.

Each gesture function draws one bout that starts at time zero and fits roughly into `span_s`
seconds. "Weak" takes blur the borders between the classes on purpose: a restrained sneeze is
close to a cough, a breathy sigh to a sniff and a short throat clearing to a cough.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from vocal_breaths import sigh, sniff
from vocal_habits import Habits, band, pitch
from vocal_source import Event

Gesture = Callable[[np.random.Generator, Habits, float], list[Event]]


def laughter(rng: np.random.Generator, habits: Habits, span_s: float) -> list[Event]:
    """Voiced "ha" bursts, 3 to 6 a second, of decaying pitch and loudness."""
    rate_hz = float(np.clip(habits.laugh_rate_hz * np.exp(rng.normal(0.0, 0.12)), 3.0, 6.5))
    count = int(np.clip(rng.integers(3, 12), 2, max(2, span_s * rate_hz)))
    unvoiced = rng.random() < 0.6 * habits.weakness
    high = float(rng.uniform(1.2, 2.1))
    mouth = (habits.laugh_vowel, "schwa" if rng.random() < 0.5 else habits.laugh_vowel)
    fade = float(rng.uniform(0.6, 2.0))
    events = []
    for index in range(count):
        start_s = index / rate_hz * float(np.exp(rng.normal(0.0, 0.03)))
        gain = np.exp(-fade * index / count + rng.normal(0.0, 0.2)) * habits.energy
        multiple = high * (1.0 - 0.35 * index / count) * float(np.exp(rng.normal(0.0, 0.06)))
        breath_s = float(rng.uniform(0.3, 0.5)) / rate_hz
        loud = 1.2 if unvoiced else float(rng.uniform(0.2, 0.6))
        events.append(
            Event(
                start_s,
                breath_s * (1.7 if unvoiced else 1.2),
                noise=gain * loud * habits.breathiness,
                vowels=mouth,
                band_hz=band(rng, habits, 1400.0, 1400.0),
                attack_s=0.03,
                decay=0.8,
            )
        )
        if not unvoiced:
            events.append(
                Event(
                    start_s + 0.7 * breath_s,
                    0.85 / rate_hz - 0.7 * breath_s,
                    voice=gain,
                    f0_hz=pitch(habits, 1.05 * multiple, 0.9 * multiple),
                    noise=0.2 * gain * habits.breathiness,
                    vowels=mouth,
                    attack_s=0.03,
                    decay=1.0,
                )
            )
    if rng.random() < 0.35:
        events.append(_catch_breath(rng, habits, count / rate_hz + 0.05))
    return events


def _catch_breath(rng: np.random.Generator, habits: Habits, start_s: float) -> Event:
    """The breath in that ends a bout of laughter."""
    return Event(
        start_s,
        float(rng.uniform(0.25, 0.6)),
        noise=0.4 * habits.energy,
        vowels=("ae", "ae"),
        attack_s=0.12,
        band_hz=band(rng, habits, 1300.0, 2200.0),
        decay=0.5,
    )


def _one_cough(
    rng: np.random.Generator, habits: Habits, start_s: float, gain: float, weak: bool
) -> list[Event]:
    """An explosive burst, a noisy middle phase and, optionally, a voiced end."""
    middle_s = float(rng.uniform(0.09, 0.26))
    mouth = str(rng.choice(["schwa", "a", "ae", "o"]))
    events = [
        Event(
            start_s,
            float(rng.uniform(0.03, 0.07)),
            noise=gain * (1.0 if weak else 2.2),
            vowels=(mouth, mouth),
            band_hz=band(rng, habits, 2400.0, 1700.0),
            band_octaves=1.6,
            attack_s=0.012 if weak else 0.003,
            decay=2.0,
        ),
        Event(
            start_s + 0.015,
            middle_s,
            noise=gain,
            vowels=(mouth, "schwa"),
            band_hz=band(rng, habits, 1700.0, 1100.0),
            band_octaves=1.4,
            attack_s=0.01,
            decay=float(rng.uniform(1.5, 3.0)),
            rough=float(rng.uniform(0, 0.4)),
        ),
    ]
    if rng.random() < habits.voiced_share:
        events.append(
            Event(
                start_s + 0.6 * middle_s,
                float(rng.uniform(0.06, 0.2)),
                voice=0.5 * gain,
                noise=0.2 * gain,
                vowels=(mouth, "schwa"),
                f0_hz=pitch(habits, rng.uniform(1.0, 1.6), 0.9),
                attack_s=0.02,
                decay=1.5,
                rough=float(rng.uniform(0.1, 0.5)),
            )
        )
    return events


def cough(rng: np.random.Generator, habits: Habits, span_s: float) -> list[Event]:
    """One to five coughs in quick succession."""
    weak = rng.random() < habits.weakness
    count = int(
        np.clip(
            rng.choice([1, 2, 3, 4, 5], p=[0.28, 0.34, 0.2, 0.12, 0.06]), 1, max(1, span_s / 0.4)
        )
    )
    gap_s = float(rng.uniform(0.3, 0.55))
    events = []
    for index in range(count):
        gain = habits.energy * float(np.exp(-0.15 * index + rng.normal(0.0, 0.2)))
        start_s = index * gap_s * float(np.exp(rng.normal(0.0, 0.08)))
        events += _one_cough(rng, habits, start_s, gain, weak)
    return events


def throat_clearing(rng: np.random.Generator, habits: Habits, span_s: float) -> list[Event]:
    """One to three low, creaky, fluttering grunts."""
    weak = rng.random() < habits.weakness
    count = int(np.clip(rng.integers(1, 4), 1, max(1, span_s / 0.5)))
    rough_hz = float(rng.uniform(18.0, 45.0))
    low = float(rng.uniform(0.5, 0.85))
    mouth = str(rng.choice(["schwa", "o", "a", "nose"]))
    events = []
    start_s = 0.0
    for _ in range(count):
        length_s = float(rng.uniform(0.15, 0.35) if weak else rng.uniform(0.28, 0.8))
        gain = habits.energy * float(np.exp(rng.normal(0.0, 0.2)))
        if rng.random() < 0.3 + 0.4 * weak:
            events.append(
                Event(
                    start_s,
                    0.06,
                    noise=1.2 * gain,
                    band_octaves=1.5,
                    band_hz=band(rng, habits, 1800.0, 1300.0),
                    attack_s=0.006,
                )
            )
        rough = float(rng.uniform(0.3, 0.6) if weak else rng.uniform(0.5, 0.95))
        events.append(
            Event(
                start_s,
                length_s,
                voice=gain * (0.45 if weak else 0.8),
                noise=gain * float(rng.uniform(0.4, 1.1)),
                vowels=(mouth, "schwa"),
                f0_hz=pitch(habits, low, low * float(rng.uniform(0.75, 1.15))),
                band_hz=band(rng, habits, 1200.0, 1000.0),
                rough=rough,
                rough_hz=rough_hz,
                attack_s=float(rng.uniform(0.01, 0.08)),
                decay=float(rng.uniform(0.6, 1.8)),
                nasal=0.8 if mouth == "nose" else 0.0,
            )
        )
        start_s += length_s + float(rng.uniform(0.08, 0.35))
    return events


def sneeze(rng: np.random.Generator, habits: Habits, span_s: float) -> list[Event]:
    """Gasps in, then an explosive high hiss with a voiced tail."""
    weak = rng.random() < habits.weakness
    gasps = 0 if weak or span_s < 0.9 else int(rng.choice([0, 1, 2], p=[0.3, 0.5, 0.2]))
    events = []
    start_s = 0.0
    for _ in range(gasps):
        events.append(_gasp(rng, habits, start_s))
        start_s += events[-1].length_s + float(rng.uniform(0.03, 0.25))
    gain = habits.energy * (1.1 if weak else 2.4)
    hiss_s = float(rng.uniform(0.07, 0.13) if weak else rng.uniform(0.09, 0.25))
    centre_hz = float(rng.uniform(2300.0, 3400.0) if weak else rng.uniform(3000.0, 5200.0))
    events.append(
        Event(
            start_s,
            hiss_s,
            noise=gain,
            vowels=("i", "schwa"),
            attack_s=0.004,
            band_hz=band(rng, habits, centre_hz, 0.6 * centre_hz),
            decay=1.8,
            band_octaves=0.9 if weak else 0.8,
        )
    )
    tail = ("schwa", "u") if rng.random() < 0.6 else ("ae", "schwa")
    voiced = rng.random() < 0.3 + 0.6 * habits.voiced_share
    events.append(
        Event(
            start_s + 0.6 * hiss_s,
            float(rng.uniform(0.1, 0.4)),
            vowels=tail,
            voice=float(rng.uniform(0.3, 0.9)) if voiced else 0.0,
            noise=0.6 * habits.energy,
            f0_hz=pitch(habits, rng.uniform(1.2, 1.8), 0.8),
            band_hz=band(rng, habits, 1900.0, 1100.0),
            attack_s=0.03,
            decay=2.0,
        )
    )
    return events


def _gasp(rng: np.random.Generator, habits: Habits, start_s: float) -> Event:
    """The breath in, sometimes voiced, before a sneeze."""
    in_s = float(rng.uniform(0.18, 0.5))
    return Event(
        start_s,
        in_s,
        noise=0.35 * habits.energy,
        vowels=("schwa", "a"),
        voice=0.25 if rng.random() < habits.voiced_share else 0.0,
        f0_hz=pitch(habits, 1.1, 1.6),
        attack_s=0.6 * in_s,
        decay=0.3,
        band_hz=band(rng, habits, 1200.0, 2000.0),
    )


GESTURES: dict[str, Gesture] = {
    "laughter": laughter,
    "sigh": sigh,
    "cough": cough,
    "throatclearing": throat_clearing,
    "sneeze": sneeze,
    "sniff": sniff,
}
