"""A batch is the same on the other side of the pipe."""

import os

import pytest

from modeltest.audio.frames import FrameReader, write_frame
from modeltest.errors import AudioError
from modeltest.records import AudioFacts, AudioSource, Response, Sample
from modeltest.runner.batches import Batch, Member
from modeltest.runner.logged_replies import LoggedReplies
from modeltest.runner.parallel.dealt import deal_frames, deal_from
from modeltest.runner.parallel.deck import Deal

FACTS = AudioFacts("abc", 3, 0.5, 16_000, 1, "WAV/PCM_16")
KEYS = {name: 32 * f"{number:02x}" for number, name in enumerate("abc")}


def passed_through(batch):
    reading, writing = os.pipe()
    for header, payload in deal_frames(Deal(7, batch)):
        write_frame(writing, header, payload)
    os.close(writing)
    frames = FrameReader(reading)
    first = frames.read()
    assert first.header == {"batch": 7, "num_members": len(batch.members)}
    found = deal_from(first.header, [frames.read() for _ in batch.members])
    assert frames.read() is None
    os.close(reading)
    assert found.number == 7
    return found.batch.members


def member(name, *sources, is_missing=True, logged_digest=b""):
    sample = Sample(name, sources, "cough", {"speaker": "f1", "note": "naïve \udc80"})
    return Member(3, sample, (FACTS,) * len(sources), KEYS[name], is_missing, logged_digest)


def test_files_are_named_and_other_bytes_go_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = member("a", AudioSource("a.wav", path="a.wav"))
    packed = member(
        "b", AudioSource("row 1", read=lambda: b"one"), AudioSource("row 2", read=lambda: b"second")
    )
    first, second = passed_through(Batch([here, packed]))
    assert first.sample.audio == (AudioSource("a.wav", path=str(tmp_path / "a.wav")),)
    assert [source.name for source in second.sample.audio] == ["row 1", "row 2"]
    assert [source.read() for source in second.sample.audio] == [b"one", b"second"]
    for found, sent in ((first, here), (second, packed)):
        assert found.sample.sample_id == sent.sample.sample_id
        assert found.sample.truth == "cough"
        assert found.sample.metadata == sent.sample.metadata
        assert (found.index, found.key, found.facts) == (sent.index, sent.key, sent.facts)


def test_a_probe_stays_one():
    probe = member("a", AudioSource("row 1", read=lambda: b"one"))
    probe.probe = "silenced"
    plain = member("b", AudioSource("row 1", read=lambda: b"one"))
    assert [found.probe for found in passed_through(Batch([probe, plain]))] == ["silenced", ""]


def test_a_clip_that_cannot_be_read_fails_where_it_is_counted():
    def gone():
        raise OSError(5, "Input/output error")

    [found] = passed_through(Batch([member("a", AudioSource("row 1", read=gone))]))
    with pytest.raises(AudioError, match=r"row 1: cannot be read \(Input/output error\)"):
        found.sample.audio[0].read()


def test_a_worker_knows_what_the_log_has_and_only_another_reply_contradicts_it():
    def record(name, text, error=""):
        return {"key": KEYS[name], "response": {"text": text, "error": error}}

    logged = LoggedReplies([record("a", "C"), record("b", "", "it failed")])
    sent = [member(name, logged_digest=logged.text_digest(KEYS[name])) for name in "abc"]
    found = passed_through(Batch(sent))
    replies = Response("", "C"), Response("", "E"), Response("", "", error="boom")
    assert [[m.contradicts_log(reply) for reply in replies] for m in found] == [
        [False, True, False], [False, False, False], [False, False, False],
    ]  # fmt: skip
