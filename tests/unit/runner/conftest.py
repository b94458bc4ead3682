"""A task on real small clips, and a backend that answers by script."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from modeltest.devices.cpu import CpuDevice
from modeltest.errors import ModelError
from modeltest.protocols import Device, Progress
from modeltest.records import Prompt, Request, Response, Timing
from modeltest.runlog.digests import digest
from modeltest.runlog.manifest import SCHEMA_VERSION, write_manifest
from modeltest.runlog.run_log import RunContent, open_segment, read_run
from modeltest.runner.accuracy import Work, evaluate
from modeltest.runner.logged_replies import LoggedReplies
from modeltest.runner.plan import check_data
from modeltest.settings.load import Loaded
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.factory import make_task

CLIPS = {
    "f0001_0_cough": 1.0,
    "f0001_0_sneeze": 0.5,
    "m0002_0_cough": 0.7,
    "m0002_0_laughter": 0.05,
    "m0002_0_sniff": 2.5,
}


class SilentProgress:
    def start(self, total: int, label: str) -> None: ...

    def advance(self, steps: int) -> None: ...

    def finish(self) -> None: ...


class ScriptedBackend:
    """Answers each sample id by script; an exception in the script is raised."""

    name = "scripted"
    sampling_rate_hz = 16_000
    max_audio_s = 2.0

    def __init__(self, script: Mapping[str, str | Exception]) -> None:
        self.script = script
        self.batches: list[list[str]] = []
        self.prepared: list[Any] = []
        self.requests: dict[str, Request] = {}

    def render(self, prompt: Prompt, num_clips: int) -> str:
        return prompt.text

    def load(self) -> None: ...

    def prepare(self, requests: Sequence[Request]) -> Any:
        return [request.sample_id for request in requests]

    def generate(
        self, requests: Sequence[Request], prepared: Any = None, on_text: Any = None
    ) -> list[Response]:
        self.prepared.append(prepared)
        self.batches.append([request.sample_id for request in requests])
        replies = []
        for request in requests:
            self.requests[request.sample_id] = request
            reply = self.script[request.sample_id]
            if isinstance(reply, Exception):
                raise reply
            replies.append(Response(request.sample_id, reply, "in", 9, 3, "stop", Timing(0.25)))
        return replies

    def identity(self, certified: bool) -> Mapping[str, Any]:
        return {}

    def facts(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None: ...


@pytest.fixture
def settings(tmp_path) -> TaskSettings:
    folder = tmp_path / "clips"
    folder.mkdir()
    generator = np.random.default_rng(1)
    for name, seconds in CLIPS.items():
        clip = generator.uniform(-0.1, 0.1, int(16_000 * seconds))
        soundfile.write(folder / f"{name}.flac", clip, 16_000)
    choices = [
        {"letter": "A", "label": "laughter", "text": "Laughter"},
        {"letter": "C", "label": "cough", "text": "Cough"},
        {"letter": "E", "label": "sneeze", "text": "Sneeze"},
        {"letter": "F", "label": "sniff", "text": "Sniff"},
    ]
    return TaskSettings(
        local_dataset_path=folder,
        prompt="{choices}?",
        choices=choices,
        label={
            "pattern": r"(?P<speaker>(?P<gender>[fm])\d+)_\d+_(?P<label>[a-z]+)",
            "rename": {"gender": {"f": "female", "m": "male"}},
        },
        slices={"by": ["gender"]},
    )


@pytest.fixture
def progress() -> Progress:
    return SilentProgress()


@pytest.fixture
def run_script(settings, tmp_path, progress) -> Callable[..., Any]:
    """Evaluates by script and reads the run back from the disk."""

    def run(
        backend: ScriptedBackend,
        batch_size: int = 2,
        limit: int | None = None,
        device: Device | None = None,
        max_failed: int | None = None,
        prefetch: bool = True,
        folder: str = "run",
        logged: LoggedReplies | None = None,
        **manifest: int,
    ) -> RunContent:
        data = check_data(Loaded("t", settings, ((Path("t.yaml"), ""),), (), {}), limit, progress)
        task = make_task("t", settings)
        work = Work(
            task, data.samples, data.facts, batch_size, False, "identity",
            logged=logged or LoggedReplies(), max_failed=max_failed,
        )  # fmt: skip
        content = {
            "schema_version": SCHEMA_VERSION,
            "command": "eval",
            "started": "",
            "place": {"run_id": ""},
            "task": {"name": "t", "overrides": [], "settings": settings.model_dump(mode="json")},
            "model": {"name": "m", "overrides": [], "settings": {"attention": "sdpa"}},
            "prompt": {"rendered": ""},
            "identity_sha256": "",
            "device": {"name": ""},
            "packages": {"torch": None, "transformers": None},
            "dp": 1,
            "labels": list(task.labels),
            "data": {
                "num_samples": len(data.samples),
                "num_available": data.available,
                "warnings": list(data.warnings),
                "sample_ids_sha256": digest([sample.sample_id for sample in data.samples]),
                "sha256": data.sha256,
            },
            "tool": {"version": "", "commit": None, "dirty": False},
        }
        content["data"].update(manifest)
        run_folder = tmp_path / folder
        write_manifest(run_folder, content)
        with open_segment(run_folder) as segment:
            evaluate(work, backend, device or CpuDevice(), segment, progress, prefetch=prefetch)
        return read_run(run_folder)

    return run


@pytest.fixture
def scripted() -> Callable[..., ScriptedBackend]:
    """All right, but for what is given."""

    def make(**changes: str | Exception) -> ScriptedBackend:
        script: dict[str, str | Exception] = {
            "f0001_0_cough": "C: Cough",
            "f0001_0_sneeze": "E: Sneeze",
            "m0002_0_cough": "C",
            "m0002_0_laughter": "laughter",
            "m0002_0_sniff": "F: Sniff",
        }
        return ScriptedBackend({**script, **changes})

    return make


@pytest.fixture
def model_error() -> ModelError:
    return ModelError("the audio was dropped")
