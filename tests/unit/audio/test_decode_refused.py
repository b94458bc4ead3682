"""What the front door of all audio refuses, and how it says so."""

import io
import os
import re
import socket
import time

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltest.audio.decode import decode, inspect
from modeltest.errors import AudioError
from modeltest.records import AudioSource

RATE = 16_000
NOISE = np.random.default_rng(3).uniform(-0.5, 0.5, 32_000)


def source(path):
    return AudioSource(name=path.name, path=path)


def in_memory(data):
    return AudioSource(name="clip", read=lambda: data)


def encoded(samples, container, subtype):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=container, subtype=subtype)
    return file.getvalue()


def float_wav(samples, rate=RATE):
    file = io.BytesIO()
    scipy.io.wavfile.write(file, rate, np.asarray(samples, np.float32))
    return file.getvalue()


class TestRefused:
    """One line each, from both `inspect` and `decode`, and soon."""

    @staticmethod
    def refuse(clip, message):
        for look in (inspect, lambda one: decode(one, RATE)):
            start = time.monotonic()
            with pytest.raises(AudioError, match=f"^{re.escape(message)}") as caught:
                look(clip)
            assert time.monotonic() - start < 1
            assert "\n" not in str(caught.value)
            assert "0x" not in str(caught.value)

    def test_missing(self, tmp_path):
        self.refuse(source(tmp_path / "a.wav"), "a.wav: does not exist")

    def test_empty(self, tmp_path):
        (tmp_path / "a.wav").touch()
        self.refuse(source(tmp_path / "a.wav"), "a.wav: is empty")

    @pytest.mark.parametrize("data", [b"not audio at all\n" * 100, b"\0" * 5000, b"RIFF", b"x"])
    def test_no_audio(self, tmp_path, data):
        (tmp_path / "a.flac").write_bytes(data)
        self.refuse(source(tmp_path / "a.flac"), "a.flac: not readable as audio (")

    def test_header_only(self):
        self.refuse(in_memory(float_wav([])), "clip: declares no frames")

    def test_stream_of_unknown_length(self):
        data = bytearray(encoded(NOISE, "FLAC", "PCM_16"))
        # STREAMINFO's 36 bits of total samples; 0 is "unknown".
        data[21] &= 0xF0
        data[22:26] = bytes(4)
        self.refuse(in_memory(bytes(data)), "clip: declares no length")

    def test_folder(self, tmp_path):
        self.refuse(source(tmp_path), f"{tmp_path.name}: is a folder, not a file")

    def test_fifo(self, tmp_path):
        os.mkfifo(tmp_path / "a.wav")
        self.refuse(source(tmp_path / "a.wav"), "a.wav: is a FIFO, not a file")

    def test_device(self):
        self.refuse(AudioSource("zero", path="/dev/zero"), "zero: is a device, not a file")

    def test_socket(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("a.wav")
            self.refuse(source(tmp_path / "a.wav"), "a.wav: cannot be opened (")

    def test_symlink_loop(self, tmp_path):
        (tmp_path / "a.wav").symlink_to("a.wav")
        self.refuse(source(tmp_path / "a.wav"), "a.wav: cannot be opened (")

    def test_failing_read(self):
        def fail():
            raise OSError(5, "Input/output error")

        self.refuse(AudioSource("row", read=fail), "row: cannot be read (Input/output error)")


class TestDamaged:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("rate", [RATE, 44_100])
    def test_non_finite_samples_are_refused(self, bad, rate):
        clip = in_memory(float_wav([0.1] * 3000 + [bad] + [0.0] * 3000, rate))
        with pytest.raises(AudioError, match="clip: holds 1 samples that are NaN or infinite"):
            decode(clip, RATE)

    def test_one_bad_channel_is_enough(self):
        with pytest.raises(AudioError, match="3000 samples that are NaN"):
            decode(in_memory(float_wav([[0.1, float("nan")]] * 3000)), RATE)

    @pytest.mark.parametrize(
        ("container", "subtype"), [("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")]
    )
    @pytest.mark.parametrize("kept", [0.3, 0.5, 0.9])
    def test_cut_files_are_refused(self, container, subtype, kept):
        data = encoded(NOISE, container, subtype)
        with pytest.raises(AudioError, match=r"^clip: (is cut|ends after|not readable)"):
            decode(in_memory(data[: int(len(data) * kept)]), RATE)

    def test_a_forged_length_costs_no_memory(self):
        data = bytearray(encoded(NOISE, "FLAC", "PCM_16"))
        data[21] |= 0x0F
        data[22:26] = b"\xff" * 4
        with pytest.raises(AudioError):
            decode(in_memory(bytes(data)), RATE)

    @settings(max_examples=60, deadline=None)
    @given(position=st.integers(0, 3000), value=st.integers(0, 255))
    def test_a_changed_byte_decodes_or_is_refused(self, position, value):
        data = bytearray(encoded(NOISE[:4000], "FLAC", "PCM_16"))
        data[position % len(data)] = value
        try:
            audio = decode(in_memory(bytes(data)), RATE)
        except AudioError:
            return
        assert np.isfinite(audio.waveform).all()


def test_a_source_without_audio_is_a_bug():
    with pytest.raises(ValueError, match="needs a path"):
        inspect(AudioSource("nothing"))
