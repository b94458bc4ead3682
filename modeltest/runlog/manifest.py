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
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import modeltest
from modeltest.errors import DataError
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.layout import MANIFEST_NAME, RunPlace

SCHEMA_VERSION = 1
_PACKAGES = (
    "torch", "torch_npu", "transformers", "tokenizers", "safetensors", "numpy", "scipy",
    "soundfile", "librosa", "soxr", "datasets", "pandas", "pydantic",
)  # fmt: skip
# Variables that steer devices and libraries. Names that could hold a secret never match.
_ENVIRONMENT = re.compile(
    r"(ASCEND|CUDA|NPU|HCCL|LCCL|ATB|PYTORCH|TORCH|OMP|MKL|NCCL|MODELTEST)_?[A-Z0-9_]*"
    r"|TASK_QUEUE_ENABLE|INF_NAN_MODE_ENABLE|BIND_CPU|RESERVED_MEMORY_GB|TP_WORLD_SIZE|MASTER_PORT"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)


def digest(value: Any) -> str:
    """SHA-256 over the canonical JSON form of a value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest atomically; the folder is made."""
    text = json.dumps(manifest, indent=2, ensure_ascii=True, sort_keys=True, allow_nan=False)
    write_atomically(folder / MANIFEST_NAME, text.encode() + b"\n", mode=0o600)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a run's manifest.

    Raises:
        DataError: There is none, it is broken, or another modeltest wrote it.
    """
    path = folder / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable manifest ({error}); is {folder} a run?") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema version {version}, this modeltest reads version {SCHEMA_VERSION}"
        )
    return dict(manifest)


def place_record(place: RunPlace) -> dict[str, Any]:
    """A place as JSON values; the output folder is left out, since runs are moved."""
    record = asdict(place)
    del record["output_dir"]
    return record


def place_from(manifest: Mapping[str, Any], folder: Path) -> RunPlace:
    """The place of a run that lies at `folder` now."""
    output_dir = folder.resolve().parents[5]
    return RunPlace(output_dir=output_dir, **manifest["place"])


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
            if _ENVIRONMENT.fullmatch(name) and not _SECRET.search(name)
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
