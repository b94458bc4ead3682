"""Checks and fingerprints of a checkpoint folder, without transformers and without weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from modeltest.errors import ModelError

ARCHITECTURES = ("Qwen2AudioForConditionalGeneration",)
_MAX_HEADER_BYTES = 100 * 1024 * 1024  # the limit of the safetensors format itself
_MAX_JSON_BYTES = 64 * 1024 * 1024
_NEEDED_FILES = ("config.json", "preprocessor_config.json", "tokenizer_config.json")


def check_model_folder(path: Path | None, where: str) -> Path:
    """Makes sure that a folder holds a model that can be run, before anything is loaded.

    Args:
        path: The folder, or None when the settings leave it unset.
        where: The settings file and key that named it, for the message.

    Returns:
        The folder.

    Raises:
        ModelError: Unset, missing, without safetensors, or of another architecture.
    """
    if path is None:
        raise ModelError(
            f"{where}: model_path is not set; put the checkpoint's folder there or pass "
            "--set model.model_path=FOLDER. To try the harness without weights: "
            "bash scripts/mm_run.sh vocalsound_mini qwen2_audio_tiny"
        )
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise ModelError(f"{where}: model_path {path} {what}")
    for name in _NEEDED_FILES:
        if not (path / name).is_file():
            raise ModelError(f"{where}: model_path {path} has no {name}; is it the checkpoint?")
    config = _read_json(path / "config.json")
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not set(architectures) & set(ARCHITECTURES):
        raise ModelError(
            f"{path / 'config.json'}: architecture {architectures} is not supported; "
            f"supported: {', '.join(ARCHITECTURES)}"
        )
    if not weight_files(path):
        raise ModelError(
            f"{where}: model_path {path} has no *.safetensors; other weight formats can run "
            "code when they are loaded and are not accepted"
        )
    _check_index(path)
    return path


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a checkpoint, sorted by name."""
    return sorted(path.glob("*.safetensors"))


def fingerprint(path: Path) -> dict[str, Any]:
    """Hashes that identify a checkpoint without reading all of its weights.

    Small files are hashed whole; of each safetensors file the header (names, types,
    shapes and offsets of the tensors) and the size.

    Returns:
        `{"files": {name: {"sha256" | "header_sha256", "num_bytes"}}, "sha256": …}` where
        the last is one digest over all of it.
    """
    files: dict[str, dict[str, Any]] = {}
    for file in sorted(path.iterdir()):
        if file.suffix == ".safetensors":
            header = _safetensors_header(file)
            files[file.name] = {
                "header_sha256": hashlib.sha256(header).hexdigest(),
                "num_bytes": file.stat().st_size,
            }
        elif file.suffix in {".json", ".txt", ".jinja"} and file.stat().st_size <= _MAX_JSON_BYTES:
            content = file.read_bytes()
            files[file.name] = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "num_bytes": len(content),
            }
    summary = json.dumps(files, sort_keys=True).encode()
    return {"files": files, "sha256": hashlib.sha256(summary).hexdigest()}


def _safetensors_header(file: Path) -> bytes:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise ModelError(f"{file}: not a safetensors file (header of {length} bytes)")
        header = stream.read(length)
    if len(header) != length or not header.startswith(b"{"):
        raise ModelError(f"{file}: not a whole safetensors file; download it again")
    return header


def _check_index(path: Path) -> None:
    index_file = path / "model.safetensors.index.json"
    if not index_file.is_file():
        return
    weight_map = _read_json(index_file).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ModelError(f"{index_file}: has no weight_map; download it again")
    missing = sorted({str(name) for name in weight_map.values() if not (path / name).is_file()})
    if missing:
        raise ModelError(f"{path}: weight files are missing: {', '.join(missing)}")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file}: is not a JSON object")
    return content
