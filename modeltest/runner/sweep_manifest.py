"""What a sweep will do, complete and checked before the model is loaded, and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modeltest.audio.decode import AUDIO_RULE, audio_rule_facts
from modeltest.protocols import Backend, Device
from modeltest.runlog.digests import digest
from modeltest.runlog.layout import PerformancePlace
from modeltest.runlog.manifest import SCHEMA_VERSION, environment_facts, place_record
from modeltest.runner.blocks import Sweep
from modeltest.runner.plan import settings_record
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings, TaskSettings


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """Everything that is decided before the device is touched.

    Attributes:
        sweep: What is measured.
        model: Settings as loaded and overridden.
        task: Settings as loaded and overridden; they say what is asked.
        num_available: Clips that there are; more than are measured only with `--limit`.
        warnings: Of the data, for the user; they are recorded with the run.
        certified: Hash the weights whole.
    """

    sweep: Sweep
    model: Loaded[ModelSettings]
    task: Loaded[TaskSettings]
    num_available: int
    warnings: tuple[str, ...]
    certified: bool


def build_sweep_manifest(
    plan: SweepPlan, backend: Backend, device: Device, place: PerformancePlace
) -> dict[str, Any]:
    """Everything that decided the run, as JSON values."""
    settings, material = plan.sweep.settings, plan.sweep.material
    rendered = backend.render(material.prompt, num_clips=1)
    identity = {
        "backend": {"name": backend.name, **backend.identity(plan.certified)},
        "prompt": rendered,
        "max_new_tokens": settings.max_new_tokens,
        "long_audio": plan.task.settings.long_audio,
        "audio_rule": AUDIO_RULE,
        "seed": settings.seed,
    }
    clips = [
        {
            "name": clip.name,
            "sha256": clip.audio.sha256,
            "duration_s": clip.audio.duration_s,
        }
        for clip in material.clips
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "perf",
        "place": place_record(place),
        "model": dict(settings_record(plan.model)),
        "task": dict(settings_record(plan.task)) if settings.clip_source == "task" else None,
        "asked_by": plan.task.name,
        "identity": identity,
        "identity_sha256": digest(identity),
        "prompt": {
            "format": material.prompt.format,
            "rendered": rendered,
            "sha256": digest(rendered),
        },
        "clips": [] if settings.clip_source == "task" else clips,
        "sweep": settings.record(),
        "data": _data_record(plan, clips),
        "audio": audio_rule_facts(),
        "device": {"kind": device.kind, **device.facts()},
        "dtype": plan.model.settings.data_type,
        "engine": plan.model.settings.engine,
        "attention": plan.model.settings.attention,
        "seed": settings.seed,
        "certified": plan.certified,
        **environment_facts(datetime.now()),
    }


def _data_record(plan: SweepPlan, clips: list[dict[str, Any]]) -> Mapping[str, Any]:
    return {
        "num_samples": len(clips),
        "num_available": plan.num_available,
        "audio_s": sum(clip["duration_s"] for clip in clips),
        "sha256": digest([[clip["name"], clip["sha256"]] for clip in clips]),
        "warnings": list(plan.warnings),
    }
