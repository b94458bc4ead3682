"""The process that measures one block for `IsolatedMeasurer` and ends.

It reads frames from descriptor 0 and answers on a copy of descriptor 1. Should its parent
die, descriptor 0 closes, and it ends at once: nobody else may find it at work.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from modeltest.audio.frames import BrokenFrameError, Frame, FrameReader, write_frame
from modeltest.backends.factory import make_backend
from modeltest.devices.factory import Choice, make_device
from modeltest.errors import ModeltestError
from modeltest.records import Prompt
from modeltest.runlog.run_log import open_segment
from modeltest.runner.blocks import BlockMeasurer, Sweep
from modeltest.runner.child import error_header, take_standard_output
from modeltest.runner.clip_frames import audio_from
from modeltest.runner.material import Clip, Material
from modeltest.runner.sweep import Logged
from modeltest.runner.sweep_plan import Block, Point, SweepSettings
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.tasks.factory import make_task


def main() -> None:
    """Measures the block that the parent names, says how it went, and ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = take_standard_output()
    asked, clips = read_task(0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        outcome = {"failure": _measure(asked, clips)}
    except ModeltestError as error:
        outcome = error_header(error)
    write_frame(answers, outcome)


def read_task(descriptor: int) -> tuple[dict[str, Any], tuple[Clip, ...]]:
    """What to measure, and the clips.

    Raises:
        BrokenFrameError: The parent is gone.
    """
    frames = FrameReader(descriptor)  # one for all frames: it may read ahead
    asked = _next_frame(frames).header
    return asked, tuple(_clip(_next_frame(frames)) for _ in range(asked["num_clips"]))


def _clip(frame: Frame) -> Clip:
    return Clip(frame.header["name"], audio_from(frame), frame.header["truth"])


def _next_frame(frames: FrameReader) -> Frame:
    frame = frames.read()
    if frame is None:
        raise BrokenFrameError("the parent is gone")
    return frame


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing more is ever sent: it returns when the pipe closes
    os._exit(1)


def _measure(asked: dict[str, Any], clips: tuple[Clip, ...]) -> str:
    model = ModelSettings.model_validate_json(asked["model"])
    settings = _settings(asked["settings"])
    device = make_device(Choice(**asked["device"]))
    backend = make_backend(model, asked["seed"], device)
    sweep = Sweep(
        settings=settings,
        material=_material(asked, clips, settings),
        dtype=model.data_type,
        attention=model.attention,
    )
    point = Point(asked["block"]["batch_size"], asked["block"]["mode"])
    logged = Logged(
        works=frozenset([point] if asked["has_work"] else []), has_peaks=asked["has_peaks"]
    )
    with open_segment(Path(asked["run_folder"]), asked["rank"]) as segment:
        measurer = BlockMeasurer(sweep, backend, device, segment)
        measurer.load()
        return measurer(Block(point, asked["block"]["pass"]), logged)


def _settings(record: dict[str, Any]) -> SweepSettings:
    lists = {"batch_sizes": tuple(record["batch_sizes"]), "modes": tuple(record["modes"])}
    return SweepSettings(**{**record, **lists})


def _material(asked: dict[str, Any], clips: tuple[Clip, ...], settings: SweepSettings) -> Material:
    task = asked["task"]
    return Material(
        clips=clips,
        prompt=Prompt(**asked["prompt"]),
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
        task=task and make_task(task["name"], TaskSettings.model_validate_json(task["settings"])),
    )
