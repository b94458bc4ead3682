"""Turns a plan into a run on the disk: place, identity and manifest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from modeltest.audio.decode import AUDIO_RULE, audio_rule_facts
from modeltest.errors import DataError
from modeltest.protocols import Backend, Device
from modeltest.runlog.layout import RunPlace, new_run_id
from modeltest.runlog.manifest import (
    SCHEMA_VERSION,
    digest,
    environment_facts,
    place_record,
    write_manifest,
)
from modeltest.runner.plan import EvalPlan, settings_record


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run whose manifest is on the disk.

    Attributes:
        place: Where its files go.
        identity_sha256: Digest of everything that decides a reply.
    """

    place: RunPlace
    identity_sha256: str


def plan_place(plan: EvalPlan, backend: str, device_label: str, output_dir: Path) -> RunPlace:
    """Where a run of this plan that starts now would put its files; nothing is made."""
    now = datetime.now()
    model = plan.model_settings.settings
    return RunPlace(
        output_dir=output_dir.resolve(),
        date=f"{now:%Y-%m-%d}",
        run_id=new_run_id(now),
        model=plan.model_settings.name,
        task=plan.task_settings.name,
        backend=backend,
        device_label=device_label,
        dtype=model.data_type,
        batch_size=model.batch_size,
        tp=1,
    )


def start_run(plan: EvalPlan, backend: Backend, device: Device, place: RunPlace) -> StartedRun:
    """Writes the manifest, before the first sample and before the weights are loaded.

    Raises:
        DataError: The output folder cannot be written.
    """
    manifest = build_manifest(plan, backend, device, place)
    try:
        write_manifest(place.run_folder, manifest)
    except OSError as error:
        raise DataError(
            f"{place.run_folder}: cannot be written ({error}); use --output-dir"
        ) from error
    return StartedRun(place, manifest["identity_sha256"])


def build_manifest(
    plan: EvalPlan, backend: Backend, device: Device, place: RunPlace
) -> dict[str, Any]:
    """Everything that decided the run, as JSON values."""
    prompt = plan.task.prompt()
    rendered = backend.render(prompt, num_clips=1)
    task = plan.task_settings.settings
    identity = {
        "backend": {"name": backend.name, **backend.identity()},
        "prompt": rendered,
        "max_new_tokens": plan.task.generation().max_new_tokens,
        "long_audio": task.long_audio,
        "audio_rule": AUDIO_RULE,
        "seed": plan.seed,
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "eval",
        "place": place_record(place),
        "task": dict(settings_record(plan.task_settings)),
        "model": dict(settings_record(plan.model_settings)),
        "labels": list(plan.task.labels),
        "identity": identity,
        "identity_sha256": digest(identity),
        "prompt": {
            "format": prompt.format,
            "rendered": rendered,
            "sha256": digest(rendered),
        },
        "data": {
            "folder": str(task.local_dataset_path),
            "layout": plan.data.listing.layout,
            "num_samples": len(plan.data.samples),
            "num_available": plan.data.available,
            "audio_s": plan.data.audio_s,
            "passed_over": dict(plan.data.listing.passed_over),
            "sha256": plan.data.sha256,
            "sample_ids_sha256": digest([sample.sample_id for sample in plan.data.samples]),
            "warnings": list(plan.data.warnings),
        },
        "audio": {"rule": AUDIO_RULE, **audio_rule_facts()},
        "device": {"kind": device.kind, **device.facts()},
        "seed": plan.seed,
        "limit": plan.limit,
        "dp": 1,
        **environment_facts(datetime.now()),
    }
