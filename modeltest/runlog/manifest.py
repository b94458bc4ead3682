"""The manifest: everything that decided a run, written before its first sample."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from modeltest.errors import DataError, StorageError, one_line
from modeltest.plain_files import read_regular, strict_json
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.digests import digest
from modeltest.runlog.first_version import FIRST_VERSION
from modeltest.runlog.host_facts import host_facts, steering_variables
from modeltest.runlog.layout import MANIFEST_NAME, PerformancePlace, RunPlace
from modeltest.runlog.source_facts import tool_facts
from modeltest.settings.paths import is_name

SCHEMA_VERSION = 3
_SEAL = "manifest_sha256"
_PACKAGES = (
    "torch", "torch_npu", "transformers", "tokenizers", "safetensors", "numpy", "scipy",
    "soundfile", "librosa", "soxr", "datasets", "pandas", "pydantic", "httpx",
)  # fmt: skip
_MAX_BYTES = 64 * 1024 * 1024


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest atomically, with a digest of itself; the folder is made."""
    sealed = {**manifest, _SEAL: digest(manifest)}
    text = json.dumps(sealed, indent=2, ensure_ascii=True, sort_keys=True, allow_nan=False)
    write_atomically(folder / MANIFEST_NAME, text.encode() + b"\n", mode=0o600)


def manifest_sha256(folder: Path) -> str:
    """SHA-256 of a run's manifest.json as it lies on the disk.

    Raises:
        StorageError: It cannot be read.
    """
    path = folder / MANIFEST_NAME
    try:
        return hashlib.sha256(read_regular(path, _MAX_BYTES)).hexdigest()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(one_line(f"{path}: cannot be read ({reason})")) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a run's manifest.

    Raises:
        DataError: There is none, it is broken or edited, or another modeltest wrote it.
    """
    return read_sealed(folder)[0]


def read_sealed(folder: Path) -> tuple[dict[str, Any], str]:
    """Reads a run's manifest and its `manifest_sha256`; raises as `read_manifest`."""
    path = folder / MANIFEST_NAME
    try:
        content = read_regular(path, _MAX_BYTES)
        manifest = strict_json(content.decode("ascii"))
        sealed = dict(manifest) if isinstance(manifest, dict) else {}
        seal = sealed.pop(_SEAL, None)
        computed = digest(sealed)
    except (OSError, ValueError, RecursionError) as error:
        reason = one_line(str(getattr(error, "strerror", None) or error))
        what = f"not a readable manifest ({reason})"
        raise DataError(f"{path}: {what}; is {folder} a run?") from error
    version = sealed.get("schema_version")
    if type(version) is not int or not FIRST_VERSION <= version <= SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema version {one_line(str(version))}, this modeltest reads versions "
            f"{FIRST_VERSION} to {SCHEMA_VERSION}"
        )
    if seal != computed:
        raise DataError(f"{path}: is damaged or was edited: its digest does not fit its content")
    return sealed, hashlib.sha256(content).hexdigest()


def place_record(place: RunPlace | PerformancePlace) -> dict[str, Any]:
    """A place as JSON values; the output folder is left out, since runs are moved."""
    record = asdict(place)
    del record["output_dir"]
    return record


def place_from(manifest: Mapping[str, Any], folder: Path) -> RunPlace:
    """The place of an accuracy run that lies at `folder` now.

    Raises:
        DataError: The manifest, which may come from anywhere, names no place below an
            output folder.
    """
    folder = folder.resolve()
    record = _checked_place(manifest, folder, RunPlace, depth=6)
    return RunPlace(output_dir=folder.parents[5], **record)


def performance_place_from(manifest: Mapping[str, Any], folder: Path) -> PerformancePlace:
    """The place of a speed measurement that lies at `folder` now; raises as `place_from`."""
    folder = folder.resolve()
    record = _checked_place(manifest, folder, PerformancePlace, depth=5)
    return PerformancePlace(output_dir=folder.parents[4], **record)


def _checked_place(
    manifest: Mapping[str, Any],
    folder: Path,
    kind: type[RunPlace] | type[PerformancePlace],
    depth: int,
) -> Mapping[str, Any]:
    record = manifest.get("place")
    other = "eval" if kind is PerformancePlace else "perf"
    if manifest.get("command") == other:
        raise DataError(f"{folder}: is a run of `modeltest {other}`; give another run")
    known = {field.name for field in fields(kind)} - {"output_dir"}
    if not isinstance(record, Mapping) or set(record) != known or len(folder.parents) < depth:
        raise DataError(f"{folder / MANIFEST_NAME}: has no usable place; is {folder} a run?")
    for key, value in record.items():
        number = key in {"batch_size", "tp"}
        if not (isinstance(value, int) if number else isinstance(value, str) and is_name(value)):
            raise DataError(one_line(f"{folder / MANIFEST_NAME}: place.{key} {value!r} is refused"))
    return record


def refuse_moved(place: RunPlace | PerformancePlace, folder: Path) -> None:
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
        "tool": tool_facts(),
        **machine_facts(),
        "argv": sys.argv,
        "working_directory": str(Path.cwd()),
        "started": now.astimezone().isoformat(timespec="seconds"),
    }


def machine_facts() -> dict[str, Any]:
    """Packages, host and relevant environment of this process; never secrets."""
    return {
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "host": host_facts(),
        "environment": steering_variables(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
