"""The manifest: everything that decided a run, written before its first sample."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import modeltest
from modeltest.errors import DataError, one_line
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.layout import MANIFEST_NAME, RunPlace
from modeltest.settings.path_values import looks_secret
from modeltest.settings.paths import is_name

SCHEMA_VERSION = 1
_SEAL = "manifest_sha256"
_PACKAGES = (
    "torch", "torch_npu", "transformers", "tokenizers", "safetensors", "numpy", "scipy",
    "soundfile", "librosa", "soxr", "datasets", "pandas", "pydantic",
)  # fmt: skip
# Variables that steer devices and libraries. Names that could hold a secret never match.
_ENVIRONMENT = re.compile(
    r"(ASCEND|CUDA|NPU|HCCL|LCCL|ATB|PYTORCH|TORCH|OMP|MKL|NCCL|MODELTEST)_?[A-Z0-9_]*"
    r"|TASK_QUEUE_ENABLE|INF_NAN_MODE_ENABLE|BIND_CPU|RESERVED_MEMORY_GB|TP_WORLD_SIZE|MASTER_PORT"
)
_MAX_BYTES = 64 * 1024 * 1024
# Made once: every record of a replayed log is digested.
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode


def digest(value: Any) -> str:
    """SHA-256 over the canonical JSON form of a value."""
    return hashlib.sha256(_CANONICAL(value).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest atomically, with a digest of itself; the folder is made."""
    sealed = {**manifest, _SEAL: digest(manifest)}
    text = json.dumps(sealed, indent=2, ensure_ascii=True, sort_keys=True, allow_nan=False)
    write_atomically(folder / MANIFEST_NAME, text.encode() + b"\n", mode=0o600)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a run's manifest.

    Raises:
        DataError: There is none, it is broken or edited, or another modeltest wrote it.
    """
    path = folder / MANIFEST_NAME
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise ValueError("not a file of a manifest's size")
        manifest = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable manifest ({error}); is {folder} a run?") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema version {version}, this modeltest reads version {SCHEMA_VERSION}"
        )
    if manifest.pop(_SEAL, None) != digest(manifest):
        raise DataError(f"{path}: is damaged or was edited: its digest does not fit its content")
    return dict(manifest)


def place_record(place: RunPlace) -> dict[str, Any]:
    """A place as JSON values; the output folder is left out, since runs are moved."""
    record = asdict(place)
    del record["output_dir"]
    return record


def place_from(manifest: Mapping[str, Any], folder: Path) -> RunPlace:
    """The place of a run that lies at `folder` now.

    Raises:
        DataError: The manifest, which may come from anywhere, names no place below an
            output folder.
    """
    folder, record = folder.resolve(), manifest.get("place")
    known = {field.name for field in fields(RunPlace)} - {"output_dir"}
    if not isinstance(record, Mapping) or set(record) != known or len(folder.parents) < 6:
        raise DataError(f"{folder / MANIFEST_NAME}: has no usable place; is {folder} a run?")
    for key, value in record.items():
        number = key in {"batch_size", "tp"}
        if not (isinstance(value, int) if number else isinstance(value, str) and is_name(value)):
            raise DataError(one_line(f"{folder / MANIFEST_NAME}: place.{key} {value!r} is refused"))
    return RunPlace(output_dir=folder.parents[5], **record)


def refuse_moved(place: RunPlace, folder: Path) -> None:
    """Makes sure that a run lies where its manifest says, below whatever output folder.

    Raises:
        DataError: It does not, so its reports would be written somewhere unexpected.
    """
    if place.run_folder != folder.resolve():
        raise DataError(
            f"{folder}: by its manifest it belongs to {place.run_folder}; keep the folders below "
            "the output folder together"
        )


def environment_facts(now: datetime) -> dict[str, Any]:
    """Tool, packages, host and relevant environment of this process; never secrets."""
    return {
        "tool": _tool_facts(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "host": {
            "name": socket.gethostname(),
            "system": platform.platform(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        },
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if _ENVIRONMENT.fullmatch(name) and not looks_secret(name)
        },
        "argv": sys.argv,
        "working_directory": str(Path.cwd()),
        "started": now.astimezone().isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _tool_facts() -> dict[str, Any]:
    facts: dict[str, Any] = {"version": modeltest.__version__, "commit": None, "dirty": None}
    checkout = Path(modeltest.__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return facts
    try:
        facts["commit"] = _git(checkout, "rev-parse", "HEAD")
        # Settings are recorded themselves: an edited config/ does not change the tool.
        facts["dirty"] = bool(_git(checkout, "status", "--porcelain", "--", "modeltest"))
    except (OSError, subprocess.SubprocessError):
        pass  # no git on the machine: the version alone identifies the tool
    return facts


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(checkout), *arguments],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
