"""Frames over a pipe: whole, several at once, and everything that is none."""

import os
import struct
import threading
import time

import pytest

from modeltest.audio.frames import BrokenFrameError, FrameReader, encode_frame, write_frame


@pytest.fixture
def pipe():
    source, sink = os.pipe()
    ends = [source, sink]
    yield ends
    for end in ends:
        if end >= 0:
            os.close(end)


def close_sink(ends):
    os.close(ends[1])
    ends[1] = -1


def test_frames_that_arrive_together_come_one_by_one(pipe):
    headers = [{"n": 0, "text": "ü"}, {"n": 1, "text": "\udcff\n"}, {}]
    for number, header in enumerate(headers):
        write_frame(pipe[1], header, b"x" * number)
    close_sink(pipe)
    reader = FrameReader(pipe[0])
    frames = [reader.read() for _ in headers]
    assert [frame.header for frame in frames] == headers
    assert [bytes(frame.payload) for frame in frames] == [b"", b"x", b"xx"]
    assert reader.read() is None


def test_a_payload_longer_than_the_pipe(pipe):
    payload = os.urandom(300_000)
    writer = threading.Thread(target=write_frame, args=(pipe[1], {"a": 1}, payload))
    writer.start()
    reader = FrameReader(pipe[0])
    frame = reader.read(len(payload))
    writer.join()
    assert frame.payload == payload
    write_frame(pipe[1], {"next": True})
    assert reader.read().header == {"next": True}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc", "broke off"),
        (encode_frame({"a": 1})[:-1], "broke off"),
        (encode_frame({"a": 1}, 4) + b"abc", "broke off"),
        (encode_frame({"a": 1}, 101), "too long"),
        (struct.pack("<IQ", 1 << 30, 0), "too long"),
        (struct.pack("<IQ", 2, 0) + b"[]", "no JSON object"),
        (struct.pack("<IQ", 2, 0) + b"\xff\xfe", "no JSON object"),
        (struct.pack("<IQ", 99_999, 0) + b"[" * 99_999, "no JSON object"),
    ],
)
def test_what_is_no_frame(pipe, content, message):
    writer = threading.Thread(target=lambda: (os.write(pipe[1], content), close_sink(pipe)))
    writer.start()
    with pytest.raises(BrokenFrameError, match=message):
        FrameReader(pipe[0]).read(100)
    writer.join(0.01)
    while writer.is_alive():
        os.read(pipe[0], 1 << 16)
        writer.join(0.01)


def test_nobody_waits_beyond_the_deadline(pipe):
    os.write(pipe[1], encode_frame({}, 10))
    begin_s = time.monotonic()
    with pytest.raises(TimeoutError):
        FrameReader(pipe[0]).read(100, begin_s + 0.05)
    os.set_blocking(pipe[1], False)
    with pytest.raises(TimeoutError):
        write_frame(pipe[1], {}, bytes(1 << 20), time.monotonic() + 0.05)
    assert time.monotonic() - begin_s < 2
