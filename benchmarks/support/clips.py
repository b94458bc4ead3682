"""Synthetic clips with VocalSound's lengths, no two alike; needs numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLING_RATE_HZ = 16_000
MEAN_S, SHORTEST_S, LONGEST_S = 4.2, 1.0, 10.0
_GAMMA_SHAPE = 6.0  # standard deviation of 41 % of the mean, a tail to the right

Waveform = NDArray[np.float32]


def draw_lengths_s(num_clips: int, seed: int) -> list[float]:
    """Seconds per clip: gamma-distributed, within 1 to 10 s, mean 4.2 s.

    The draw is scaled to the mean before it is cut off, so that few clips are as heavy as many.
    """
    drawn = np.random.default_rng(seed).gamma(_GAMMA_SHAPE, MEAN_S / _GAMMA_SHAPE, num_clips)
    scaled = drawn * (MEAN_S / drawn.mean())
    return [float(length_s) for length_s in np.clip(scaled, SHORTEST_S, LONGEST_S)]


def make_clip(length_s: float, seed: int) -> Waveform:
    """A gliding tone with overtones, pulses and coloured noise, float32, `(num_samples,)`.

    Every clip has its own pitch, pulse rate and noise, so that a model with random weights hears
    a difference and no cache can serve one clip for another.
    """
    rng = np.random.default_rng(seed)
    num_samples = round(length_s * SAMPLING_RATE_HZ)
    time_s = np.arange(num_samples) / SAMPLING_RATE_HZ
    pitch_hz = rng.uniform(80, 900) * np.exp(rng.uniform(-0.5, 0.5) * time_s / length_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLING_RATE_HZ
    tone = sum(rng.uniform(0, 1) / k * np.sin(k * phase) for k in range(1, 6))
    noise = np.convolve(rng.standard_normal(num_samples), rng.uniform(-1, 1, 8), mode="same")
    pulses = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 9) * time_s + rng.uniform(0, 6))
    share = rng.uniform(0.1, 0.9)
    mixed = pulses * (share * tone + (1 - share) * 0.5 * noise)
    return np.asarray(0.5 * mixed / np.abs(mixed).max(), dtype=np.float32)


def make_clips(lengths_s: list[float], seed: int) -> list[Waveform]:
    """One clip per length; other seeds give other clips of the same lengths."""
    return [
        make_clip(length_s, seed * 1_000_003 + index) for index, length_s in enumerate(lengths_s)
    ]
