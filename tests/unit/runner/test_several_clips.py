"""Samples of more than one clip on their way through a run."""

from types import SimpleNamespace

import numpy as np

from modeltest.records import Audio, AudioFacts, Generation, Prompt, Response, Sample, Score
from modeltest.runner.accuracy import warm_up
from modeltest.runner.material import Clip, Material
from modeltest.runner.plan import _copies
from modeltest.runner.sweep_plan import Point


def facts(*digits):
    return tuple(AudioFacts(digit * 64, 10, 1.0, 16_000, 1, "WAV/PCM_16") for digit in digits)


def test_pairs_are_copies_when_both_clips_are():
    samples = [Sample(f"pair-{number}", (), "") for number in range(4)]
    warned = _copies(samples, [facts("a", "b"), facts("b", "a"), facts("a", "c"), facts("a", "b")])
    assert warned == ["2 samples share their audio bytes with another: pair-0, pair-3"]


def test_the_same_clip_twice_in_a_pair_is_no_copy_of_another_sample():
    assert _copies([Sample("pair-0", (), "")], [facts("a", "a")]) == []


def test_warming_up_fills_every_place_of_a_request():
    asked = []
    backend = SimpleNamespace(max_audio_s=30.0, generate=asked.extend)
    task = SimpleNamespace(
        num_clips=2, prompt=lambda: Prompt("?", "chat"), generation=lambda: Generation(8)
    )
    clip = Audio(np.zeros(1600, np.float32), 16_000, "a", 0.1)
    warm_up(task, backend, [clip, clip])
    assert [len(request.audio) for request in asked] == [2, 2]


def test_without_a_reference_no_reply_of_a_sweep_is_right_or_wrong():
    task = SimpleNamespace(score=lambda _sample, _response: Score("x", True, None, False))
    audio = Audio(np.zeros(1600, np.float32), 16_000, "a", 0.1)
    block = SimpleNamespace(point=Point(1, "natural"))
    for truth, expected in (("words", 1), ("", None)):
        material = Material((Clip("s", audio, truth),), Prompt("?", "chat"), 8, 0, task)
        assert material.num_correct(block, [Response("s", "x")]) == expected
