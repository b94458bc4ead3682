"""The waveform of each format, fixed: by digest where decoding is exact, else by its course.

The lossy clips in `lossy_clips.json` are stored as bytes, since encoders differ by release,
and decoders round by processor.
"""

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from modeltest.audio.decode import decode
from modeltest.records import AudioSource

RATE = 16_000
LEVELS = (np.arange(4000) * 7919 % 65_536 - 32_768).astype(np.int16)
# Of LEVELS / 32768, and of their upper bytes / 128, by arithmetic.
BY_16_BITS = "e3ee68f47cde3ea7b3e54b1ea98696c9dc8a9bcf481b7bb35d6deb7cf47d0ba7"
BY_8_BITS = "c45a2fd9a050c6aa5511fa1727c5e8df7257221c7dab217e1586ab83dc05d4f7"
EXACT = {
    ("WAV", "PCM_U8", 1): BY_8_BITS,
    ("WAV", "PCM_16", 1): BY_16_BITS,
    ("WAV", "PCM_24", 1): BY_16_BITS,
    ("WAV", "PCM_32", 1): BY_16_BITS,
    ("WAV", "FLOAT", 1): BY_16_BITS,
    ("WAV", "DOUBLE", 1): BY_16_BITS,
    ("WAV", "PCM_16", 2): BY_16_BITS,
    ("WAVEX", "PCM_16", 1): BY_16_BITS,
    ("RF64", "PCM_16", 1): BY_16_BITS,
    ("FLAC", "PCM_S8", 1): BY_8_BITS,
    ("FLAC", "PCM_16", 1): BY_16_BITS,
    ("FLAC", "PCM_24", 2): BY_16_BITS,
    ("AIFF", "PCM_16", 1): BY_16_BITS,
    ("AIFF", "FLOAT", 2): BY_16_BITS,
    ("AU", "PCM_16", 1): BY_16_BITS,
}


@pytest.mark.parametrize("form", EXACT, ids=lambda form: " ".join(map(str, form)))
def test_exact_formats(form):
    container, subtype, num_channels = form
    file = io.BytesIO()
    levels = LEVELS / 32_768 if subtype in {"FLOAT", "DOUBLE"} else LEVELS
    clip = np.repeat(levels[:, None], num_channels, axis=1)
    soundfile.write(file, clip, RATE, format=container, subtype=subtype)
    audio = decode(AudioSource("clip", read=file.getvalue), RATE)
    assert hashlib.sha256(audio.waveform.astype("<f4").tobytes()).hexdigest() == EXACT[form]


@pytest.mark.parametrize("name", ["MP3", "VORBIS", "OPUS"])
def test_lossy_formats(name):
    clips = json.loads(Path(__file__).with_name("lossy_clips.json").read_text(encoding="ascii"))
    data = base64.b64decode(clips[name])
    audio = decode(AudioSource("clip", read=lambda: data), RATE)
    time_s = np.arange(3200) / RATE
    tones = 0.4 * np.sin(2 * np.pi * 440 * time_s) + 0.2 * np.sin(2 * np.pi * 1250 * time_s)
    assert len(audio.waveform) == 3200
    middle = slice(800, -800)  # codecs need a moment to settle
    assert np.abs(audio.waveform - tones)[middle].max() < 0.05
    assert audio.note == ""
