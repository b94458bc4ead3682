"""The process that measures one block reads all that its parent sent, however it arrives."""

import os

import numpy as np
import pytest

from modeltest.audio.frames import BrokenFrameError, write_frame
from modeltest.records import Audio
from modeltest.runner.clip_frames import audio_header
from modeltest.runner.isolated_child import read_task
from modeltest.runner.material import Clip


def sent(num_clips, num_sent):
    """A pipe that holds the task and clips in one piece; closed behind them."""
    reading, writing = os.pipe()
    clips = []
    for number in range(num_sent):
        waveform = np.full(800, 0.1 * number, dtype=np.float32)
        audio = Audio(waveform, 16_000, f"sha {number}", 0.05)
        clips.append(Clip(f"clip {number}", audio, "cough"))
    write_frame(writing, {"num_clips": num_clips})
    for clip in clips:
        header = {"name": clip.name, "truth": clip.truth, "audio": audio_header(clip.audio)}
        write_frame(writing, header, clip.audio.waveform.tobytes())
    os.close(writing)
    return reading, clips


def test_frames_that_arrive_together_are_all_read():
    reading, clips = sent(3, 3)
    asked, found = read_task(reading)
    os.close(reading)
    assert asked == {"num_clips": 3}
    assert [(clip.name, clip.truth) for clip in found] == [(c.name, c.truth) for c in clips]
    for clip, original in zip(found, clips, strict=True):
        assert np.array_equal(clip.audio.waveform, original.audio.waveform)


def test_a_parent_that_is_gone():
    reading, _ = sent(2, 1)
    with pytest.raises(BrokenFrameError, match="the parent is gone"):
        read_task(reading)
    os.close(reading)
