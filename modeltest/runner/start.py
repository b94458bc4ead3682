"""Turns a plan into a run on the disk: place, identity and manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from modeltest.audio.decode import AUDIO_RULE, audio_rule_facts
from modeltest.errors import StorageError
from modeltest.protocols import Backend, Device
from modeltest.runlog.atomic import make_folder
from modeltest.runlog.digests import digest
from modeltest.runlog.layout import PerformancePlace, RunPlace, new_run_id
from modeltest.runlog.manifest import (
    SCHEMA_VERSION,
    environment_facts,
    place_record,
    write_manifest,
)
from modeltest.runner.plan import EvalPlan, settings_record
from modeltest.runner.sentinels import choose_probes

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


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
        tp=plan.tp,
    )


def plan_performance_place(model: str, output_dir: Path) -> PerformancePlace:
    """Where a sweep of a model that starts now would put its files; nothing is made."""
    now = datetime.now()
    return PerformancePlace(
        output_dir=output_dir.resolve(), date=f"{now:%Y-%m-%d}", run_id=new_run_id(now), model=model
    )


def make_run_folder(place: RunPlace | PerformancePlace) -> None:
    """Makes the folder of a run, or finds that of a resumed one.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        make_folder(place.run_folder)
    except OSError as error:
        raise StorageError(f"{place.run_folder}: cannot be made ({error.strerror})") from error


def start_run(place: RunPlace | PerformancePlace, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest, before the first request and before the weights are loaded.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        write_manifest(place.run_folder, manifest)
    except OSError as error:
        raise StorageError(
            f"{place.run_folder}: the manifest cannot be written ({error.strerror})"
        ) from error


def build_manifest(
    plan: EvalPlan, backend: Backend, device: Device, place: RunPlace
) -> dict[str, Any]:
    """Everything that decided the run, as JSON values."""
    prompt, asked = plan.task.prompt(), plan.task.generation()
    rendered = backend.render(prompt, plan.task.num_clips)
    task = plan.task_settings.settings
    identity: dict[str, Any] = {
        "backend": {"name": backend.name, **backend.identity(plan.certified)},
        "prompt": rendered,
        "max_new_tokens": asked.max_new_tokens,
        "stop_pattern": asked.stop_pattern,
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
            "template_files": _template_files(identity["backend"]),
        },
        "data": {
            "folder": str(task.local_dataset_path),
            "folder_from_report": _from_report(task.local_dataset_path, place),
            "layout": plan.data.listing.layout,
            "num_samples": len(plan.data.samples),
            "num_available": plan.data.available,
            "audio_s": plan.data.audio_s,
            "passed_over": dict(plan.data.listing.passed_over),
            "sha256": plan.data.sha256,
            "sample_ids_sha256": digest([sample.sample_id for sample in plan.data.samples]),
            "warnings": list(plan.data.warnings),
        },
        "probes": choose_probes(
            plan.data.samples,
            plan.data.facts,
            plan.model_settings.settings.batch_size,
            text_only=plan.model_settings.settings.is_service or not asked.options,
        ),
        "audio": audio_rule_facts(),
        "device": {"kind": device.kind, **device.facts()},
        "seed": plan.seed,
        "limit": plan.limit,
        "certified": plan.certified,
        "dp": plan.dp,
        **environment_facts(datetime.now()),
    }


def _from_report(folder: Path | None, place: RunPlace) -> str | None:
    """Where report.html finds the clips; recorded, so that a run that was moved keeps its page."""
    return None if folder is None else os.path.relpath(folder, place.run_folder)


def _template_files(backend: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of those of the checkpoint's files that can hold a chat template."""
    files = backend.get("model", {}).get("files", {})
    return {name: files[name]["sha256"] for name in _TEMPLATE_FILES if name in files}
