"""Decoding: expected values come from struct, scipy and arithmetic, not from libsndfile."""

import hashlib
import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile

from modeltest.audio.decode import (
    AUDIO_RULE,
    MIN_CLIP_S,
    audio_rule_facts,
    decode,
    inspect,
    truncate,
)
from modeltest.records import Audio, AudioSource

RATE = 16_000


def source(path):
    return AudioSource(name=path.name, path=path)


def in_memory(data, name="clip"):
    return AudioSource(name=name, read=lambda: data)


def sine(frequency_hz, rate, duration_s=0.5, amplitude=0.5):
    time_s = np.arange(int(rate * duration_s)) / rate
    return amplitude * np.sin(2 * np.pi * frequency_hz * time_s)


def encoded(samples, rate, container, subtype):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def wav(frames, num_channels, rate, bits, code=1):
    """A RIFF file around raw little-endian frames, written by hand."""
    block = num_channels * bits // 8
    form = struct.pack("<HHIIHH", code, num_channels, rate, rate * block, block, bits)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(frames)) + frames
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def peak_of_spectrum(waveform, rate):
    """Frequency and amplitude of the strongest tone, Hann-windowed; ends left out."""
    middle = waveform[len(waveform) // 8 : -len(waveform) // 8]
    window = np.hanning(len(middle))
    spectrum = np.abs(np.fft.rfft(middle * window, n=1 << 18)) * 2 / window.sum()
    best = int(spectrum.argmax())
    return best * rate / (1 << 18), spectrum[best]


class TestSampleFormats:
    LEVELS = (0.0, 0.5, -0.5, 0.25, -1.0)

    @pytest.mark.parametrize(
        ("bits", "pack"),
        [
            (8, lambda x: struct.pack("<B", int(x * 128) + 128)),
            (16, lambda x: struct.pack("<h", int(x * 32768))),
            (24, lambda x: struct.pack("<i", int(x * 8388608))[:3]),
            (32, lambda x: struct.pack("<i", int(x * 2147483648))),
        ],
    )
    def test_integer_wav_is_scaled_to_one(self, bits, pack):
        frames = b"".join(pack(level) for level in self.LEVELS) * 400
        audio = decode(in_memory(wav(frames, 1, RATE, bits)), RATE)
        assert audio.waveform.dtype == np.float32
        assert audio.waveform.tolist() == list(self.LEVELS) * 400

    @pytest.mark.parametrize(("bits", "letter"), [(32, "f"), (64, "d")])
    def test_float_wav_passes_as_it_is(self, bits, letter):
        frames = b"".join(struct.pack("<" + letter, level) for level in self.LEVELS) * 400
        audio = decode(in_memory(wav(frames, 1, RATE, bits, code=3)), RATE)
        assert audio.waveform.tolist() == list(self.LEVELS) * 400

    def test_agrees_with_scipy(self, tmp_path):
        path = tmp_path / "noise.wav"
        noise = np.random.default_rng(1).integers(-32768, 32767, (4000, 2), dtype=np.int16)
        scipy.io.wavfile.write(path, RATE, noise)
        expected = (noise.astype(np.float64) / 32768).mean(axis=1).astype(np.float32)
        assert np.array_equal(decode(source(path), RATE).waveform, expected)

    @pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
    def test_flac_is_exact(self, subtype):
        bits = int(subtype[-2:].lstrip("S"))
        levels = np.random.default_rng(2).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 4000)
        samples = levels / 2 ** (bits - 1)
        audio = decode(in_memory(encoded(samples, RATE, "FLAC", subtype)), RATE)
        assert np.array_equal(audio.waveform, samples.astype(np.float32))

    def test_peak_far_above_one_passes(self):
        frames = struct.pack("<f", 250.0) * 2000
        assert decode(in_memory(wav(frames, 1, RATE, 32, code=3)), RATE).waveform.max() == 250.0


class TestContainersRatesChannels:
    @pytest.mark.parametrize(
        ("container", "subtype", "rate"),
        [
            *[("WAV", "PCM_16", rate) for rate in (8000, 11025, 22050, 44100, 96000, 192000)],
            *[("FLAC", "PCM_24", rate) for rate in (8000, 16000, 44100, 192000)],
            *[("OGG", "VORBIS", rate) for rate in (8000, 16000, 44100, 192000)],
            *[("OGG", "OPUS", rate) for rate in (8000, 16000, 48000)],
            *[("MP3", "MPEG_LAYER_III", rate) for rate in (8000, 16000, 44100, 48000)],
            ("AIFF", "PCM_16", 44100),
            ("AU", "PCM_16", 22050),
        ],
    )
    def test_a_sine_keeps_frequency_level_and_length(self, container, subtype, rate):
        clip = in_memory(encoded(sine(1000, rate), rate, container, subtype))
        facts = inspect(clip)
        assert (facts.sampling_rate_hz, facts.num_channels) == (rate, 1)
        assert facts.duration_s == pytest.approx(0.5, abs=1e-3)
        assert facts.container == f"{container}/{subtype}"
        audio = decode(clip, RATE)
        assert audio.sampling_rate_hz == RATE
        assert audio.source_duration_s == facts.duration_s
        assert audio.duration_s == pytest.approx(0.5, abs=1e-3)
        assert audio.note == ""
        frequency_hz, amplitude = peak_of_spectrum(audio.waveform, RATE)
        lossy = container in {"MP3", "OGG"}
        assert frequency_hz == pytest.approx(1000, abs=2)
        assert amplitude == pytest.approx(0.5, rel=0.05 if lossy else 1e-3)

    @pytest.mark.parametrize("num_channels", range(1, 9))
    @pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_24"), ("FLAC", "PCM_16")])
    def test_channels_are_mixed_by_their_mean(self, num_channels, container, subtype):
        levels = [(channel + 1) / 16 for channel in range(num_channels)]
        samples = np.tile(levels, (2000, 1))
        audio = decode(in_memory(encoded(samples, RATE, container, subtype)), RATE)
        assert audio.waveform.shape == (2000,)
        assert audio.waveform == pytest.approx(np.full(2000, sum(levels) / num_channels), abs=1e-7)

    def test_opposite_channels_cancel(self):
        tone = sine(440, RATE)
        clip = in_memory(encoded(np.stack([tone, -tone], axis=1), RATE, "WAV", "FLOAT"))
        assert not decode(clip, RATE).waveform.any()

    def test_loud_channels_do_not_overflow_in_the_sum(self):
        frames = struct.pack("<ff", 3e38, 3e38) * 2000
        audio = decode(in_memory(wav(frames, 2, RATE, 32, code=3)), RATE)
        assert np.all(audio.waveform == np.float32(3e38))

    def test_downsampling_takes_out_what_the_new_rate_cannot_hold(self):
        clip = in_memory(encoded(sine(12_000, 48_000), 48_000, "WAV", "FLOAT"))
        middle = decode(clip, RATE).waveform[1000:-1000]
        assert np.abs(middle).max() < 1e-4

    def test_more_than_one_block(self):
        num_frames = (1 << 20) + 5
        ramp = (np.arange(num_frames) % 30_000).astype("<i2")
        audio = decode(in_memory(wav(ramp.tobytes(), 1, RATE, 16)), RATE)
        assert np.array_equal(audio.waveform, ramp.astype(np.float32) / 32768)

    def test_the_content_counts_not_the_ending(self, tmp_path):
        path = tmp_path / "clip.wav"
        path.write_bytes(encoded(sine(440, RATE), RATE, "FLAC", "PCM_16"))
        assert inspect(source(path)).container == "FLAC/PCM_16"


class TestShortAndLong:
    @pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
    @pytest.mark.parametrize("num_frames", [1, 7, 799])
    def test_short_clips_are_padded_at_the_end(self, num_frames, rate):
        clip = in_memory(wav(struct.pack("<h", 16384) * num_frames, 1, rate, 16))
        audio = decode(clip, RATE)
        num_heard = -(-num_frames * RATE // rate)
        assert len(audio.waveform) == max(num_heard, MIN_CLIP_S * RATE)
        assert not audio.waveform[num_heard:].any()
        assert audio.source_duration_s == num_frames / rate
        assert audio.note == ("padded to 0.1 s" if num_heard < MIN_CLIP_S * RATE else "")

    def test_just_long_enough_is_not_padded(self):
        audio = decode(in_memory(wav(b"\0\0" * 1600, 1, RATE, 16)), RATE)
        assert (len(audio.waveform), audio.note) == (1600, "")

    def test_truncate_keeps_the_beginning_and_says_so(self):
        audio = decode(in_memory(encoded(sine(440, RATE, 0.5), RATE, "WAV", "FLOAT")), RATE)
        cut = truncate(audio, 0.3)
        assert np.array_equal(cut.waveform, audio.waveform[:4800])
        assert cut.note == "truncated from 0.5 s to 0.3 s"
        assert (cut.sha256, cut.source_duration_s) == (audio.sha256, 0.5)
        assert not np.shares_memory(cut.waveform, audio.waveform)

    def test_truncate_leaves_shorter_clips_alone(self):
        audio = Audio(np.zeros(8000, np.float32), RATE, "", 0.5)
        assert truncate(audio, 0.5) is audio


class TestDigest:
    def test_it_is_of_the_encoded_bytes(self, tmp_path):
        data = encoded(sine(440, RATE), RATE, "FLAC", "PCM_16")
        path = tmp_path / "ein Klang ü.flac"
        path.write_bytes(data)
        expected = hashlib.sha256(data).hexdigest()
        facts = inspect(source(path))
        assert (facts.sha256, facts.num_bytes) == (expected, len(data))
        assert decode(source(path), RATE).sha256 == expected
        assert decode(in_memory(data), 24_000).sha256 == expected

    def test_bytes_are_fetched_once(self):
        data = encoded(sine(440, RATE), RATE, "FLAC", "PCM_16")
        calls = []
        clip = AudioSource("row", read=lambda: calls.append(1) or data)
        inspect(clip)
        decode(clip, RATE)
        assert len(calls) == 2

    def test_decoding_twice_gives_the_same_samples(self):
        clip = in_memory(encoded(sine(440, 44_100), 44_100, "OGG", "VORBIS"))
        assert decode(clip, RATE).waveform.tobytes() == decode(clip, RATE).waveform.tobytes()


def test_the_rule_names_every_library():
    facts = audio_rule_facts()
    assert facts["rule"] == AUDIO_RULE
    assert facts["libsndfile"] == soundfile.__libsndfile_version__
    assert all(facts[name] for name in ("soundfile", "librosa", "soxr", "libsoxr"))


def test_importing_loads_no_library():
    code = (
        "import sys, modeltest.audio.decode\n"
        "print([n for n in ('numpy', 'soundfile', 'librosa', 'soxr') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
