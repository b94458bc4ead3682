"""Every clip of the corpus is refused with one clear line, or decodes to what it should be."""

import runpy
import time
from pathlib import Path

import numpy as np
import pytest

from modeltest.audio import limits
from modeltest.audio.decode import decode, inspect
from modeltest.errors import AudioError
from modeltest.records import AudioSource

CORPUS = runpy.run_path(str(Path(__file__).with_name("bad_audio.py")))
CASES = CORPUS["CASES"]
RATE = CORPUS["RATE"]


def source_of(case, data):
    return AudioSource(case.file_name or "clip", read=lambda: data)


def refusal(look, *arguments):
    start_s = time.monotonic()
    with pytest.raises(AudioError) as caught:
        look(*arguments)
    assert time.monotonic() - start_s < 2
    return str(caught.value)


def test_the_corpus_is_large_and_its_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES) >= 75


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.refused], ids=lambda case: case.name
)
def test_refused(case):
    clip = source_of(case, case.build())
    message = refusal(decode, clip, RATE)
    assert message.startswith("clip: ")
    assert case.refused in message
    assert message.isprintable()
    assert "0x" not in message
    if case.late:
        inspect(clip)
    else:
        assert refusal(inspect, clip) == message


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.refused], ids=lambda case: case.name
)
def test_decoded(case):
    clip = source_of(case, case.build())
    facts = inspect(clip)
    audio = decode(clip, facts.sampling_rate_hz)
    assert round(audio.source_duration_s * facts.sampling_rate_hz) == case.num_frames
    assert audio.source_duration_s == facts.duration_s
    assert np.isfinite(audio.waveform).all()
    assert case.note in audio.note
    assert bool(case.note) == bool(audio.note)


CUT = {
    "WAV": ("WAV", "PCM_16"),
    "WAVEX": ("WAVEX", "PCM_24"),
    "FLAC": ("FLAC", "PCM_16"),
    "VORBIS": ("OGG", "VORBIS"),
    "OPUS": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
    "AIFF": ("AIFF", "PCM_16"),
    "AU": ("AU", "PCM_16"),
    "GSM": ("WAV", "GSM610"),
}


@pytest.mark.parametrize("name", CUT)
def test_no_cut_goes_unnoticed(name):
    data = CORPUS["encoded"](*CUT[name])
    whole = decode(AudioSource("clip", read=lambda: data), RATE).waveform
    for end in (
        *range(0, 200, 3),
        *range(200, len(data) - 40, 97),
        *range(len(data) - 40, len(data)),
    ):
        try:
            audio = decode(AudioSource("clip", read=lambda end=end: data[:end]), RATE)
        except AudioError:
            continue
        assert np.array_equal(audio.waveform, whole), end


class TestLimits:
    def test_a_long_flac_of_zeros_is_refused_before_it_is_decoded(self, monkeypatch):
        data = CORPUS["encoded"]("FLAC", "PCM_16", "long", 1000)
        assert len(data) < 100_000
        monkeypatch.setattr(limits, "MAX_DURATION_S", 3600)
        monkeypatch.setattr(limits, "MAX_DECODED_BYTES", 1 << 20)
        start_s = time.monotonic()
        message = refusal(decode, AudioSource("bomb", read=lambda: data), RATE)
        assert message == "bomb: decodes to more than 1 MiB, the limit"
        assert time.monotonic() - start_s < 0.1

    @pytest.mark.parametrize("as_file", [True, False])
    def test_a_large_file_is_refused_before_it_is_read(self, as_file, tmp_path, monkeypatch):
        path = tmp_path / "large.wav"
        with path.open("wb") as file:
            file.truncate((256 << 20) + 1)
        if as_file:
            clip = AudioSource("large.wav", path=path)
        else:
            monkeypatch.setattr(limits, "MAX_FILE_BYTES", 256 << 20)
            clip = AudioSource("large.wav", read=path.read_bytes)
        assert refusal(inspect, clip) == "large.wav: exceeds 256 MiB, the limit for a clip's file"


class TestNotes:
    def test_several_notes_are_all_told(self):
        data = CORPUS["floats"](12.3, 0.5)
        audio = decode(AudioSource("x.mp3", read=lambda: data), RATE)
        assert audio.note == "named .mp3, is WAV; peak 12.3; padded to 0.1 s"


class TestSymlinks:
    def test_a_link_to_a_file_is_as_good_as_the_file(self, tmp_path):
        (tmp_path / "clip.wav").write_bytes(CORPUS["wav"]())
        (tmp_path / "link.wav").symlink_to("clip.wav")
        assert (
            inspect(AudioSource("link.wav", path=tmp_path / "link.wav")).container == "WAV/PCM_16"
        )

    def test_a_dangling_link_does_not_exist(self, tmp_path):
        (tmp_path / "link.wav").symlink_to("gone.wav")
        message = refusal(inspect, AudioSource("link.wav", path=tmp_path / "link.wav"))
        assert message == "link.wav: does not exist"

    def test_a_link_to_a_device_is_no_file(self, tmp_path):
        (tmp_path / "link.wav").symlink_to("/dev/zero")
        message = refusal(inspect, AudioSource("link.wav", path=tmp_path / "link.wav"))
        assert message == "link.wav: is a device, not a file"

    @pytest.mark.parametrize("name", ["a\0b", "\udcff.wav", "x" * 300])
    def test_impossible_names_are_refused(self, tmp_path, name):
        path = Path(f"{tmp_path}/{name}")
        assert refusal(inspect, AudioSource("clip", path=path)).startswith("clip: ")
