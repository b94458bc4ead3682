"""Recording conditions: room, background noise, microphone and level."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve
from vocal_source import SAMPLE_RATE_HZ, Signal


def _shaped(rng: np.random.Generator, samples: int, slope: float) -> Signal:
    """Returns noise of unit power whose amplitude falls with frequency to the power `slope`."""
    spectrum = np.fft.rfft(rng.normal(size=samples))
    frequency_hz = np.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.maximum(frequency_hz, 20.0) ** slope, samples)
    return noise / max(float(np.std(noise)), 1e-12)


def room_response(rng: np.random.Generator) -> Signal:
    """Draws a room impulse response: direct sound, early reflections and a diffuse tail."""
    rt60_s = float(rng.uniform(0.12, 0.7))
    distance = float(rng.beta(1.3, 2.5))
    samples = int(rt60_s * SAMPLE_RATE_HZ)
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    dull = np.convolve(rng.normal(size=samples), np.full(4, 0.5), mode="same")
    bright = rng.normal(size=samples)
    tail = dull * 10.0 ** (-3.0 * time_s / rt60_s)
    tail += 0.6 * bright * 10.0 ** (-3.0 * time_s / (0.45 * rt60_s))
    tail[: int(0.004 * SAMPLE_RATE_HZ)] = 0.0
    response = tail * (0.9 * distance / np.sqrt(np.sum(tail**2)))
    response[0] += 1.0
    for _ in range(int(rng.integers(2, 7))):
        delay = int(rng.uniform(0.002, 0.03) * SAMPLE_RATE_HZ)
        response[delay] += distance * rng.uniform(-0.5, 0.5)
    return response


def background(rng: np.random.Generator, samples: int) -> Signal:
    """Draws background noise of unit power: a mix of hiss, rumble and mains hum."""
    noise = rng.uniform(0.1, 1.0) * _shaped(rng, samples, 0.0)
    noise += rng.uniform(0.2, 2.0) * _shaped(rng, samples, float(rng.uniform(0.4, 1.1)))
    if rng.random() < 0.35:
        mains_hz = float(rng.choice([50.0, 60.0]))
        time_s = np.arange(samples) / SAMPLE_RATE_HZ
        for harmonic in range(1, int(rng.integers(3, 9))):
            angle = 2.0 * np.pi * mains_hz * harmonic * time_s + rng.uniform(0.0, 6.0)
            noise += rng.uniform(0.1, 0.9) / harmonic * np.sin(angle)
    return noise / max(float(np.std(noise)), 1e-12)


def microphone(rng: np.random.Generator, signal: Signal) -> Signal:
    """Applies a drawn microphone's band limits, tilt and one resonance."""
    spectrum = np.fft.rfft(signal)
    frequency_hz = np.fft.rfftfreq(len(signal), 1.0 / SAMPLE_RATE_HZ)
    low_hz, high_hz = float(rng.uniform(40.0, 260.0)), float(rng.uniform(3400.0, 9000.0))
    gain = 1.0 / np.sqrt(1.0 + (low_hz / np.maximum(frequency_hz, 1.0)) ** 4)
    gain /= np.sqrt(1.0 + (frequency_hz / high_hz) ** 8)
    octaves = np.log2(np.maximum(frequency_hz, 50.0) / 1000.0)
    gain *= 10.0 ** (float(rng.normal(0.0, 2.0)) * octaves / 20.0)
    peak_octaves = octaves - float(rng.uniform(-1.0, 2.3))
    gain *= 10.0 ** (float(rng.normal(0.0, 4.0)) * np.exp(-8.0 * peak_octaves**2) / 20.0)
    return np.fft.irfft(spectrum * gain, len(signal))


def record(rng: np.random.Generator, dry: Signal) -> Signal:
    """Puts a dry sound into a room with noise and records it.

    Args:
        rng: Draws the conditions.
        dry: The sound itself, shape (samples,).

    Returns:
        The recording, shape (samples,), peak between -35 and -3 dB of full scale.
    """
    wet = fftconvolve(dry, room_response(rng))[: len(dry)]
    loud = wet[np.abs(wet) > 0.1 * np.max(np.abs(wet))]
    snr_db = float(np.clip(rng.normal(30.0, 9.0), 10.0, 55.0))
    noise = background(rng, len(dry)) * np.sqrt(np.mean(loud**2)) * 10.0 ** (-snr_db / 20.0)
    signal = microphone(rng, wet + noise)
    signal /= max(float(np.max(np.abs(signal))), 1e-9)
    if rng.random() < 0.15:
        drive = float(rng.uniform(1.0, 3.0))
        signal = np.tanh(drive * signal) / np.tanh(drive)
    peak_db = float(np.clip(rng.normal(-13.0, 7.0), -35.0, -3.0))
    return signal * 10.0 ** (peak_db / 20.0)
