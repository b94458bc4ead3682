"""Which clips a sweep measures."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from modeltest.errors import DataError
from modeltest.records import Audio, Prompt
from modeltest.runner.material import (
    Clip,
    decode_clips,
    median_sample,
    refuse_long_inputs,
    sources_at,
    turn,
)

HEARS_TWO_SECONDS = SimpleNamespace(sampling_rate_hz=16_000, max_audio_s=2.0)


@pytest.mark.parametrize(
    ("lengths", "median"), [([3, 1, 2], 2), ([1, 4, 2, 3], 2), ([5], 0), ([2, 2, 2], 1)]
)
def test_the_median_clip(lengths, median):
    data = SimpleNamespace(
        samples=[SimpleNamespace(sample_id=f"s{i}") for i in range(len(lengths))],
        facts=[(SimpleNamespace(duration_s=float(length)),) for length in lengths],
    )
    assert median_sample(data) == median


def test_a_turned_clip_is_the_same_sound_begun_elsewhere():
    audio = Audio(np.arange(5, dtype=np.float32), 16_000, "old", 5 / 16_000)
    turned = turn(audio, 2)
    assert turned.waveform.tolist() == [2, 3, 4, 0, 1]
    assert turned.sha256 != "old"
    assert turned.duration_s == audio.duration_s


def test_a_folder_is_every_audio_file_in_it_by_name(tmp_path):
    for name in ("b.wav", "a.flac", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    found, passed_over = sources_at(tmp_path)
    assert [source.name for source in found] == ["a.flac", "b.wav"]
    assert passed_over == 1


def test_a_folder_without_audio_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no audio file"):
        sources_at(tmp_path)


@pytest.mark.parametrize("content", [None, b"no audio"])
def test_an_unusable_file_is_refused_by_name(tmp_path, content, progress):
    path = tmp_path / "clip.wav"
    if content:
        path.write_bytes(content)
    [source] = sources_at(path)[0]
    with pytest.raises(DataError, match=r"clip\.wav"):
        decode_clips([(source, source.name, "")], HEARS_TWO_SECONDS, False, progress)


def test_a_clip_that_is_too_long_is_refused_or_cut(tmp_path, progress):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(48_000), 16_000)
    sources = [(sources_at(path)[0][0], "long", "")]
    with pytest.raises(DataError, match=r"3\.00 s long, the model hears 2 s"):
        decode_clips(sources, HEARS_TWO_SECONDS, False, progress)
    [clip] = decode_clips(sources, HEARS_TWO_SECONDS, True, progress)
    assert clip.audio.duration_s == 2.0


def test_the_longest_request_decides_whether_inputs_are_too_long():
    def count(request):
        return 5 + len(request.audio[0].waveform)

    backend = SimpleNamespace(num_input_tokens=count)
    clips = [
        Clip(name, Audio(np.zeros(length, np.float32), 16_000, name, length / 16_000))
        for name, length in (("short", 10), ("long", 20))
    ]
    refuse_long_inputs(clips, Prompt("what?", "raw"), backend, 25)
    with pytest.raises(DataError, match=r"long: the request has 25 input tokens, .* allows 24"):
        refuse_long_inputs(clips, Prompt("what?", "raw"), backend, 24)
