"""Source-filter building blocks: glottal pulses, turbulence and moving vocal-tract filters.

All signals are one-dimensional float64 arrays at ``SAMPLE_RATE_HZ``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

SAMPLE_RATE_HZ = 16_000
_HOP = 160
_WINDOW = 320
# Frames are filtered by multiplication; the zeros behind each frame hold the filter's ringing.
_FFT = 512
_BINS_HZ = np.fft.rfftfreq(_FFT, 1.0 / SAMPLE_RATE_HZ)
_UNIT_DELAY = np.exp(-2j * np.pi * _BINS_HZ / SAMPLE_RATE_HZ)

# Formants of an average adult male tract in Hz; speakers scale them by their tract length.
VOWELS_HZ: dict[str, tuple[float, float, float, float, float]] = {
    "a": (730, 1090, 2440, 3400, 4500),
    "ae": (660, 1720, 2410, 3450, 4500),
    "e": (530, 1840, 2480, 3500, 4600),
    "i": (290, 2290, 3010, 3600, 4700),
    "o": (570, 840, 2410, 3300, 4400),
    "u": (310, 870, 2240, 3300, 4400),
    "schwa": (500, 1500, 2500, 3500, 4500),
    "nose": (280, 1050, 2150, 3150, 4300),
}
_BANDWIDTHS_HZ = np.array([80.0, 100.0, 140.0, 220.0, 300.0])


@dataclass(frozen=True)
class Voice:
    """What makes one person's tract and folds sound like theirs.

    Attributes:
        formant_scale: Factor on every formant of the average male tract.
        bandwidth_scale: Factor on every formant's bandwidth.
        open_quotient: Share of a glottal cycle in which the folds are apart, 0 to 1.
        jitter: Relative standard deviation of the cycle length.
        shimmer: Relative standard deviation of the cycle amplitude.
        nasal_zero_hz: Frequency of the nasal antiresonance.
    """

    formant_scale: float
    bandwidth_scale: float
    open_quotient: float
    jitter: float
    shimmer: float
    nasal_zero_hz: float


@dataclass(frozen=True)
class Event:
    """One stretch of sound with its own sources, mouth shape and loudness.

    Pairs are the values at the event's start and end.

    Attributes:
        start_s: Onset in the clip.
        length_s: Duration.
        voice: Linear gain of the glottal source.
        noise: Linear gain of the turbulence.
        f0_hz: Fundamental frequency of the glottal source.
        vowels: Mouth shapes, keys of ``VOWELS_HZ``.
        band_hz: Centre of the turbulence.
        band_octaves: Half width of the turbulence.
        attack_s: Time from silence to full loudness.
        decay: Natural-log units of loudness lost between onset and end.
        rough: Irregularity, 0 (clean) to 1 (creaky).
        rough_hz: Rate of the turbulence's flutter.
        nasal: Strength of the nasal antiresonance, 0 to 1.
    """

    start_s: float
    length_s: float
    voice: float = 0.0
    noise: float = 0.0
    f0_hz: tuple[float, float] = (120.0, 120.0)
    vowels: tuple[str, str] = ("schwa", "schwa")
    band_hz: tuple[float, float] = (1500.0, 1500.0)
    band_octaves: float = 1.3
    attack_s: float = 0.02
    decay: float = 1.0
    rough: float = 0.0
    rough_hz: float = 30.0
    nasal: float = 0.0


def glottal_pulses(
    rng: np.random.Generator, f0_hz: Signal, voice: Voice, rough: float = 0.0
) -> Signal:
    """Returns the derivative of the glottal flow, cycle by cycle irregular.

    Args:
        rng: Source of the irregularities.
        f0_hz: Fundamental frequency at each sample, shape (samples,).
        voice: Open quotient, jitter and shimmer.
        rough: Extra irregularity and alternate-cycle damping, 0 to 1.
    """
    wander = np.repeat(rng.normal(size=len(f0_hz) // 48 + 1), 48)[: len(f0_hz)]
    jittered_hz = f0_hz * np.exp((voice.jitter + 0.12 * rough) * wander)
    phase = np.cumsum(jittered_hz) / SAMPLE_RATE_HZ + rng.random()
    cycle = phase.astype(np.int64)
    position = phase - cycle
    opening = 0.66 * voice.open_quotient
    closing = voice.open_quotient - opening
    rising = 0.5 * (1.0 - np.cos(np.pi * position / opening))
    falling = np.cos(0.5 * np.pi * np.clip((position - opening) / closing, 0.0, 1.0))
    flow = np.where(position < opening, rising, falling)
    loudness = np.exp((voice.shimmer + 0.35 * rough) * rng.normal(size=int(cycle[-1]) + 1))
    loudness[1::2] *= 1.0 - 0.6 * rough
    return np.diff(flow * loudness[cycle], prepend=0.0) * 6.0


def envelope(event: Event, samples: int) -> Signal:
    """Returns the loudness of an event over time, shape (samples,)."""
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    attack = np.sin(0.5 * np.pi * np.clip(time_s / max(event.attack_s, 1e-3), 0.0, 1.0)) ** 2
    after_attack_s = np.clip(time_s - event.attack_s, 0.0, None)
    fall = np.exp(-event.decay * after_attack_s / max(event.length_s - event.attack_s, 1e-3))
    release_s = min(0.25 * event.length_s, 0.12)
    release = np.sin(0.5 * np.pi * np.clip((time_s[-1] - time_s) / release_s, 0.0, 1.0)) ** 2
    loudness: Signal = attack * fall * release
    return loudness


def _ramp(ends: tuple[float, float], count: int) -> Signal:
    """Returns `count` values moving geometrically from the first end to the second."""
    return np.geomspace(max(ends[0], 1e-6), max(ends[1], 1e-6), count)


def tract_response(event: Event, voice: Voice, frames: int) -> NDArray[np.complex128]:
    """Returns the vocal tract's transfer function, shape (frames, bins)."""
    start, end = (np.array(VOWELS_HZ[name]) * voice.formant_scale for name in event.vowels)
    mix = np.linspace(0.0, 1.0, frames)[:, None]
    formants_hz = np.minimum(start + (end - start) * mix, 0.47 * SAMPLE_RATE_HZ)
    response = np.ones((frames, len(_BINS_HZ)), dtype=np.complex128)
    for index, bandwidth_hz in enumerate(_BANDWIDTHS_HZ * voice.bandwidth_scale):
        radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ)
        cosine = np.cos(2.0 * np.pi * formants_hz[:, index : index + 1] / SAMPLE_RATE_HZ)
        at_zero_hz = 1.0 - 2.0 * radius * cosine + radius**2
        response *= at_zero_hz / (
            1.0 - 2.0 * radius * cosine * _UNIT_DELAY + (radius * _UNIT_DELAY) ** 2
        )
    dip = np.exp(-(((_BINS_HZ - voice.nasal_zero_hz) / 350.0) ** 2))
    return response * (1.0 - 0.9 * event.nasal * dip)


def turbulence_response(event: Event, frames: int) -> Signal:
    """Returns the turbulence's spectral bump, shape (frames, bins)."""
    centre_hz = _ramp(event.band_hz, frames)[:, None]
    octaves = np.log2(np.maximum(_BINS_HZ, 20.0) / centre_hz)
    return np.exp(-0.5 * (octaves / event.band_octaves) ** 2)


def moving_filter(source: Signal, response: NDArray[np.complex128] | Signal) -> Signal:
    """Filters a source with one transfer function per 10 ms frame, by overlap-add.

    Args:
        source: Shape (samples,).
        response: Shape (frame_count(samples), bins).

    Returns:
        The filtered source, shape (samples,).
    """
    frames = len(response)
    padded = np.zeros((frames + 1) * _HOP)
    padded[_HOP : _HOP + len(source)] = source
    starts = _HOP * np.arange(frames)[:, None]
    window = np.sin(np.pi * (np.arange(_WINDOW) + 0.5) / _WINDOW) ** 2
    spectra = np.fft.rfft(padded[starts + np.arange(_WINDOW)] * window, _FFT)
    filtered = np.fft.irfft(spectra * response, _FFT)
    out = np.zeros(frames * _HOP + _FFT)
    for frame in range(frames):
        out[frame * _HOP : frame * _HOP + _FFT] += filtered[frame]
    return out[_HOP : _HOP + len(source)]


def frame_count(samples: int) -> int:
    """Returns how many filter frames `moving_filter` needs for a source."""
    return -(-samples // _HOP) + 1


def render_event(rng: np.random.Generator, event: Event, voice: Voice) -> Signal:
    """Synthesises one event.

    Args:
        rng: Source of the turbulence and the irregularities.
        event: What to synthesise.
        voice: Who makes the sound.

    Returns:
        Shape (event.length_s * SAMPLE_RATE_HZ,).
    """
    samples = max(int(event.length_s * SAMPLE_RATE_HZ), _HOP)
    frames = frame_count(samples)
    loudness = envelope(event, samples)
    tract = tract_response(event, voice, frames)
    out = np.zeros(samples)
    flutter: Signal | float = 1.0
    if event.rough > 0.0:
        phase = event.rough_hz * np.arange(samples) / SAMPLE_RATE_HZ
        phase += 0.15 * np.cumsum(rng.normal(size=samples)) / np.sqrt(SAMPLE_RATE_HZ)
        flutter = 1.0 - event.rough * (0.5 + 0.5 * np.sin(2.0 * np.pi * phase))
    if event.noise > 0.0:
        hiss = rng.normal(size=samples) * loudness * flutter
        # Turbulence starts inside the tract, so that only part of it is shaped by the formants.
        weight = 0.35 + 0.65 * np.minimum(np.abs(tract), 6.0)
        out += 0.25 * event.noise * moving_filter(hiss, weight * turbulence_response(event, frames))
    if event.voice > 0.0:
        pulses = glottal_pulses(rng, _ramp(event.f0_hz, samples), voice, event.rough)
        out += event.voice * moving_filter(pulses * loudness, tract)
    return out
