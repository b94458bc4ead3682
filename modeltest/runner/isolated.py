"""Blocks in processes of their own: nothing of one block is left in memory for the next.

A process that is killed, for want of memory for example, costs its point only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modeltest.audio.frames import BrokenFrameError
from modeltest.devices.factory import Choice
from modeltest.runner.blocks import Sweep
from modeltest.runner.child import Child, raise_error
from modeltest.runner.clip_frames import audio_header
from modeltest.runner.sweep import Logged
from modeltest.runner.sweep_plan import Block
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings, TaskSettings


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
        child = Child("isolated_child")
        try:
            outcome = self._ask(child, block, logged)
        except BaseException:
            child.kill()
            raise
        finally:
            how = child.end()
        if outcome is None:
            return how or "process ended without an answer"
        if "error" in outcome:
            raise_error(outcome)
        return str(outcome["failure"])

    def _ask(self, child: Child, block: Block, logged: Logged) -> Mapping[str, Any] | None:
        try:
            for header, payload in self._frames(block, logged):
                child.send(header, payload)
            answer = child.answers.read()
        except (BrokenFrameError, BrokenPipeError):
            return None  # how it ended tells more
        return answer.header if answer else None

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
            header = {"name": clip.name, "truth": clip.truth, "audio": audio_header(clip.audio)}
            yield header, clip.audio.waveform.tobytes()
