"""Clips on the wire, read back by libsndfile and the standard library."""

import base64
import io
import wave
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from service_settings import clip, service_settings

from modeltest.backends.service.audio_part import (
    MediaFolder,
    audio_part,
    data_text,
    encoded,
    num_cut,
    wav_bytes,
)
from modeltest.backends.service.presets import wire_of
from modeltest.errors import ModelError


def wire(**request):
    return wire_of(service_settings("http://127.0.0.1:1", request=request))


def test_every_16_bit_sample_survives():
    levels = np.arange(-32768, 32768)
    wav = wav_bytes((levels / 32768).astype(np.float32), 16_000, "pcm16")
    read, rate = soundfile.read(io.BytesIO(wav), dtype="int16")
    assert rate == 16_000
    assert np.array_equal(read, levels)
    decoded, _ = soundfile.read(io.BytesIO(wav), dtype="float32")
    assert np.array_equal(decoded, (levels / 32768).astype(np.float32))


def test_the_standard_library_reads_the_same():
    with wave.open(io.BytesIO(wav_bytes(clip(1600).waveform, 16_000, "pcm16"))) as file:
        assert file.getparams()[:4] == (1, 2, 16_000, 1600)


def test_float32_keeps_every_bit():
    waveform = np.random.default_rng(1).normal(size=999).astype(np.float32) * 3
    wav = wav_bytes(waveform, 22_050, "float32")
    read, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    assert rate == 22_050
    assert np.array_equal(read, waveform)
    assert soundfile.info(io.BytesIO(wav)).subtype == "FLOAT"


def test_other_samples_are_rounded_by_half_a_step_at_most_and_cut_at_full_scale():
    waveform = np.random.default_rng(2).uniform(-0.99, 0.99, 999).astype(np.float32)
    read, _ = soundfile.read(io.BytesIO(wav_bytes(waveform, 16_000, "pcm16")), dtype="float64")
    assert np.abs(read - waveform).max() <= 0.5 / 32768
    loud = np.array([1.0, 1.5, -1.0, -1.5, np.float32(32767 / 32768)], np.float32)
    read, _ = soundfile.read(io.BytesIO(wav_bytes(loud, 16_000, "pcm16")), dtype="int16")
    assert read.tolist() == [32767, 32767, -32768, -32768, 32767]
    assert num_cut(replace(clip(), waveform=loud)) == 3


def test_a_loud_clip_is_told(caplog):
    loud = replace(clip(), waveform=np.full(10, 1.2, np.float32))
    encoded(loud, wire())
    assert "10 samples cut at the full scale of 16-bit PCM" in caplog.text
    caplog.clear()
    encoded(loud, wire(sample_format="float32"))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("request_settings", "expected"),
    [
        ({}, {"type": "audio_url", "audio_url": {"url": "x"}}),
        ({"audio_part": "audio_url_text"}, {"type": "audio_url", "audio_url": "x"}),
        (
            {"audio_part": "input_audio"},
            {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
        ),
    ],
)
def test_the_forms_of_a_part(request_settings, expected):
    assert audio_part(wire(**request_settings), "x") == expected


def test_a_data_uri_names_the_subtype_and_holds_the_file():
    assert data_text(b"abc", wire()) == "data:audio/wav;base64,YWJj"
    assert data_text(b"abc", wire(audio_subtype="x-wav")) == "data:audio/x-wav;base64,YWJj"
    assert base64.b64decode(data_text(b"abc", wire(audio_part="input_audio"))) == b"abc"


def test_a_media_folder_holds_clips_until_it_is_cleared(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    media = MediaFolder(folder, None)
    url = media.put(clip(), b"RIFF")
    assert url.startswith(f"file://{str(folder).replace(' ', '%20')}/modeltest-")
    [file] = folder.iterdir()
    assert file.read_bytes() == b"RIFF"
    assert media.put(clip(), b"RIFF") == url
    over_http = MediaFolder(folder, "https://host/clips/")
    assert over_http.put(clip(), b"RIFF") == f"https://host/clips/{file.name}"
    media.clear()
    assert list(folder.iterdir()) == []


def test_a_clip_is_not_written_through_a_link(tmp_path):
    media = MediaFolder(tmp_path, None)
    name = media.put(clip(), b"RIFF").rpartition("/")[2]
    media.clear()
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="cannot be written"):
        media.put(clip(), b"RIFF")
    assert (tmp_path / "elsewhere").read_text() == "mine"
