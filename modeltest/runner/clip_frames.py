"""Decoded clips as frames, for processes of our own."""

from __future__ import annotations

from typing import Any

from modeltest.audio.frames import Frame
from modeltest.records import Audio


def audio_header(audio: Audio) -> dict[str, Any]:
    """All of a clip but its waveform, as JSON values."""
    return {
        name: getattr(audio, name)
        for name in ("sampling_rate_hz", "sha256", "source_duration_s", "note")
    }


def audio_from(frame: Frame) -> Audio:
    """The clip that `audio_header` under `audio` and its waveform describe."""
    import numpy as np

    waveform = np.frombuffer(frame.payload, dtype=np.float32)
    return Audio(waveform=waveform, **frame.header["audio"])
