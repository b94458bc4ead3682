"""A clip's shape in 48 characters, against levels worked out by hand."""

import numpy as np
import pytest
import soundfile

from modeltest.audio.decode import decode
from modeltest.audio.envelope import ALPHABET, NUM_PEAKS, envelope
from modeltest.records import AudioSource


def levels(text):
    return [ALPHABET.index(character) for character in text]


@pytest.mark.parametrize(
    ("peak", "level"),
    # 63 times the square root of the peak.
    [(0.0, 0), (1.0, 63), (-1.0, 63), (0.25, 32), (-0.01, 6), (1e-5, 0), (7.5, 63)],
)
def test_a_level_is_the_root_of_the_peak(peak, level):
    assert levels(envelope(np.full(4800, peak, np.float32))) == [level] * NUM_PEAKS


def test_each_stretch_has_its_own_peak():
    waveform = np.zeros(480, np.float32)
    waveform[[0, 19, 479]] = (1.0, -0.25, 0.01)
    found = levels(envelope(waveform))
    assert {place: level for place, level in enumerate(found) if level} == {0: 63, 1: 32, 47: 6}


@pytest.mark.parametrize("length", [1, 2, 47, 49, 1000])
def test_every_length_has_as_many_characters(length):
    assert envelope(np.ones(length, np.float32)) == "_" * NUM_PEAKS


def test_a_decoded_clip_has_one_of_its_source_before_padding(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.full(480, 0.25, np.float32), 16_000, subtype="FLOAT")
    audio = decode(AudioSource("short.wav", path=path), 16_000)
    assert "padded" in audio.note
    assert levels(audio.envelope) == [32] * NUM_PEAKS
