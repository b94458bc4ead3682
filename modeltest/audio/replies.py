"""Checks what a decoder process answers before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from modeltest.audio.frames import BrokenFrameError, Frame
from modeltest.errors import AudioError, one_line
from modeltest.records import Audio, AudioFacts

_MAX_TEXT = 10_000
_TYPES = {"str": str, "int": int, "float": float}
_FACT_TYPES = {field.name: _TYPES[str(field.type)] for field in fields(AudioFacts)}
_AUDIO_TYPES = {"sha256": str, "source_duration_s": float, "note": str, "envelope": str}


def parse_facts(frame: Frame, name: str) -> AudioFacts:
    """The answer to an inspection.

    Raises:
        AudioError: The clip was refused, or its decoder failed.
        BrokenFrameError: It is no answer.
    """
    facts = _part(frame, "facts", name)
    _require_types(facts, _FACT_TYPES)
    return AudioFacts(**facts)


def parse_audio(frame: Frame, name: str, sampling_rate_hz: int) -> Audio:
    """The answer to a decoding; raises as `parse_facts`."""
    import numpy as np

    facts = _part(frame, "audio", name)
    _require_types(facts, _AUDIO_TYPES)
    if not frame.payload or len(frame.payload) % 4:
        raise BrokenFrameError("its waveform is broken")
    waveform = np.frombuffer(frame.payload, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise BrokenFrameError("its waveform is not finite")
    return Audio(waveform=waveform, sampling_rate_hz=sampling_rate_hz, **facts)


def _part(frame: Frame, key: str, name: str) -> Mapping[str, Any]:
    header = frame.header
    if isinstance(error := header.get("error"), str):
        raise AudioError(error[:_MAX_TEXT])
    if isinstance(failure := header.get("failure"), str):
        raise AudioError(f"{name}: the decoder failed: {one_line(failure[:_MAX_TEXT])}")
    part = header.get(key)
    if not isinstance(part, dict):
        raise BrokenFrameError("its reply is no answer")
    return part


def _require_types(part: Mapping[str, Any], wanted: Mapping[str, type]) -> None:
    if part.keys() != wanted.keys():
        raise BrokenFrameError("its reply has other fields")
    for key, value in part.items():
        if type(value) is not wanted[key]:
            raise BrokenFrameError("its reply has other fields")
    for value in part.values():
        if not (len(value) <= _MAX_TEXT if isinstance(value, str) else 0 <= value < math.inf):
            raise BrokenFrameError("its reply is out of range")
