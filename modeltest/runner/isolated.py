"""Blocks in processes of their own: nothing of one block is left in memory for the next.

A process that is killed, for want of memory for example, costs its point only.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from modeltest.audio.frames import BrokenFrameError, Frame, read_frame, write_frame
from modeltest.devices.factory import Choice
from modeltest.errors import (
    DataError,
    DeviceError,
    ModelError,
    ModeltestError,
    SettingsError,
    StorageError,
    UsageError,
    one_line,
)
from modeltest.records import Audio
from modeltest.runner.blocks import Sweep
from modeltest.runner.material import Clip
from modeltest.runner.sweep import Logged
from modeltest.runner.sweep_plan import Block
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings, TaskSettings

_LOG = logging.getLogger(__name__)
_MAX_MESSAGES_BYTES = 1 << 16
_EXIT_S = 30.0
_ERRORS = {
    kind.__name__: kind
    for kind in (DataError, DeviceError, ModelError, SettingsError, StorageError, UsageError)
}

# With the parent's search path; `-m` would put the current folder first.
_CODE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from modeltest.runner.isolated_child import main
main()
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a child makes its backend and device of.

    Attributes:
        run_folder: Where its segment goes.
        model: The model's settings.
        task: The task's settings.
        device: The chosen device.
        seed: Seeds the backend.
    """

    run_folder: Path
    model: Loaded[ModelSettings]
    task: Loaded[TaskSettings]
    device: Choice
    seed: int


class IsolatedMeasurer:
    """Measures each block in a fresh process; a `MeasureBlock`."""

    def __init__(self, sweep: Sweep, origin: Origin) -> None:
        self._sweep = sweep
        self._origin = origin
        self._ranks = {block: rank for rank, block in enumerate(sweep.settings.blocks(), start=1)}

    def __call__(self, block: Block, logged: Logged) -> str:
        """Measures one block, waits for it; see `BlockMeasurer`.

        Raises:
            ModeltestError: What the child raised.
        """
        with tempfile.TemporaryFile() as messages:
            outcome = self._run(block, logged, messages)
            last = _log_messages(messages)
        if "error" in outcome:
            kind = _ERRORS.get(str(outcome.get("kind")), ModeltestError)
            raise kind(str(outcome["error"]))
        if "status" in outcome:
            return _how_it_ended(outcome["status"], last)
        return str(outcome["failure"])

    def _run(self, block: Block, logged: Logged, messages: IO[bytes]) -> Mapping[str, Any]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CODE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal is the parent's business
        )
        try:
            if process.stdin is None or process.stdout is None:
                raise BrokenFrameError("it has no pipes")
            for header, payload in self._frames(block, logged):
                write_frame(process.stdin.fileno(), header, payload)
            answer = read_frame(process.stdout.fileno())
            if answer is not None:
                return answer.header
        except (BrokenFrameError, BrokenPipeError):
            pass  # how it ended tells more
        except BaseException:
            process.kill()
            raise
        finally:
            _end(process)
        return {"status": process.returncode}

    def _frames(self, block: Block, logged: Logged) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Everything that the child needs: the task first, then one frame per clip."""
        origin, material = self._origin, self._sweep.material
        task = material.task and origin.task.settings.model_dump_json()
        yield (
            {
                "run_folder": str(origin.run_folder),
                "rank": self._ranks[block],
                "model": origin.model.settings.model_dump_json(),
                "task": {"name": origin.task.name, "settings": task} if task else None,
                "device": asdict(origin.device),
                "seed": origin.seed,
                "settings": self._sweep.settings.record(),
                "prompt": asdict(material.prompt),
                "block": block.record(),
                "has_peaks": logged.has_peaks,
                "has_work": block.point in logged.works,
                "num_clips": len(material.clips),
            },
            b"",
        )
        for clip in material.clips:
            yield clip_header(clip), clip.audio.waveform.tobytes()


def clip_header(clip: Clip) -> dict[str, Any]:
    """All of a clip but its waveform, as JSON values."""
    audio = {
        name: getattr(clip.audio, name)
        for name in ("sampling_rate_hz", "sha256", "source_duration_s", "note")
    }
    return {"name": clip.name, "truth": clip.truth, "audio": audio}


def clip_from(frame: Frame) -> Clip:
    """The clip that `clip_header` and its waveform describe."""
    import numpy as np

    waveform = np.frombuffer(frame.payload, dtype=np.float32)
    return Clip(
        frame.header["name"],
        Audio(waveform=waveform, **frame.header["audio"]),
        frame.header["truth"],
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a child that has answered, died or was killed."""
    if process.stdin is not None:
        process.stdin.close()  # a child that waits for more ends by this
    try:
        process.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _how_it_ended(status: int, last_message: str) -> str:
    if status < 0:
        return f"process ended by signal {-status}"
    return f"process ended with status {status}: {last_message}"


def _log_messages(messages: IO[bytes]) -> str:
    """What the child and its libraries said, for run.log; returns the last line."""
    size = messages.seek(0, 2)
    messages.seek(max(0, size - _MAX_MESSAGES_BYTES))
    lines = messages.read().decode("utf-8", errors="replace").splitlines()
    for line in lines:
        _LOG.info("%s", line)
    return one_line(lines[-1]) if lines else ""
