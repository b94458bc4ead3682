"""The process of a worker on this host; see `modeltest.runner.parallel.local`.

It reads frames from descriptor 0 and reports on a copy of descriptor 1. Should its parent
die, descriptor 0 closes, and it ends at once: nobody else may find it at work.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modeltest.audio.frames import BrokenFrameError, Frame, FrameReader, write_frame
from modeltest.errors import ModeltestError
from modeltest.runlog.run_log import open_segment
from modeltest.runlog.segment import SegmentWriter, encode_line
from modeltest.runner.child import error_header, take_standard_output
from modeltest.runner.clip_frames import audio_from
from modeltest.runner.parallel.crew import BEAT_S
from modeltest.runner.parallel.dealt import deal_from
from modeltest.runner.parallel.deck import Deal
from modeltest.runner.parallel.worker import RECORD, Job, Worker


def main() -> None:
    """Works until the parent has no more batches, and ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = Parent(0, take_standard_output())
    try:
        asked = parent.next_frame().header
        clips = [audio_from(parent.next_frame()) for _ in range(asked["num_clips"])]
        folder, manifest = Path(asked["run_folder"]), asked.get("manifest_sha256", "")
        with open_segment(folder, asked["rank"] + 1, manifest) as segment:
            log = _ToldLog(segment, parent) if asked.get("tells_records") else segment
            worker = Worker(Job.from_json(asked["job"]), asked["rank"], log, parent.say)
            worker.run(clips, dealt(parent), parent.stop_waiting)
    except ModeltestError as error:
        parent.say(error_header(error))


class Parent:
    """The other end of the pipes."""

    def __init__(self, requests: int, reports: int) -> None:
        self._reports = reports
        self._lock = threading.Lock()
        self._frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def next_frame(self) -> Frame:
        """The next frame; waits for it."""
        return self._frames.get()

    def stop_waiting(self) -> None:
        """Lets who waits for the next frame find an empty one."""
        self._frames.put(Frame({}, bytearray()))

    def say(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        """Reports something."""
        with self._lock:
            write_frame(self._reports, header, payload)

    def _read(self, requests: int) -> None:
        frames = FrameReader(requests)  # one for all frames: it may read ahead
        try:
            while frame := frames.read():
                self._frames.put(frame)
        except BrokenFrameError:
            pass
        os._exit(1)  # the parent keeps the pipe open as long as it lives and wants us

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            try:
                self.say({"event": "beat"})
            except OSError:
                os._exit(1)


class _ToldLog:
    """Keeps each record here and passes it on, where the run's folder is on another host."""

    def __init__(self, segment: SegmentWriter, parent: Parent) -> None:
        self._segment = segment
        self._parent = parent

    def append(self, record: Mapping[str, Any]) -> None:
        """Keeps one record."""
        self._segment.append(record)
        self._parent.say({"event": RECORD}, encode_line(record))


def dealt(parent: Parent) -> Iterator[Deal]:
    """Batches until the parent has no more, or `stop_waiting`."""
    while (header := parent.next_frame().header).get("num_members"):
        yield deal_from(header, [parent.next_frame() for _ in range(header["num_members"])])
