"""Checks and fingerprints of a checkpoint folder, without transformers and without weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from modeltest.backends.transformers.architecture import (
    check_files_of_another,
    is_qwen2_audio,
    short_name,
)
from modeltest.backends.transformers.foreign_code import (
    MAX_JSON_BYTES,
    QWEN2_AUDIO_CLASSES,
    read_object,
    refuse_foreign_code,
    refuse_other_classes,
)
from modeltest.errors import ModelError, one_line

FAST_ATTENTIONS = ("sdpa", "eager")
"""Those whose masks the fast engine makes."""

_MAX_HEADER_BYTES = 100 * 1024 * 1024  # the limit of the safetensors format itself
_NEEDED_FILES = ("config.json", "tokenizer_config.json")
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_BLOCK_BYTES = 4096
_NUM_BLOCKS = 64
_INDEX_FILE = "model.safetensors.index.json"
_SMALL_FILES = (".json", ".txt", ".jinja", ".model")  # the last is SentencePiece's


def check_model_folder(path: Path | None, where: str) -> Path:
    """Makes sure that a folder holds a model that can be run, before anything is loaded.

    Args:
        path: The folder, or None when the settings leave it unset.
        where: The settings file and line that named it, for the message.

    Returns:
        The folder.

    Raises:
        ModelError: Unset, missing, incomplete, without safetensors, of an architecture that
            makes no text of audio, or with code of its own; one line each. Whether transformers
            knows another architecture than Qwen2-Audio's is found out by the backend.
    """
    try:
        return _checked(path)
    except ModelError as error:
        raise ModelError(one_line(f"{where}: {error}")) from error


def why_stock(path: Path) -> str:
    """Why the fast engine cannot run a checkpoint, or empty where it can.

    Raises:
        ModelError: `config.json` cannot be used.
    """
    if is_qwen2_audio(path):
        return ""
    return f"the fast engine is for Qwen2-Audio, this is {short_name(path)}"


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a checkpoint, sorted by name."""
    return sorted(path.glob("*.safetensors"))


def fingerprint(path: Path, whole_weights: bool = False) -> dict[str, Any]:
    """Hashes that identify a checkpoint, by default without reading all of its weights.

    Small files are hashed whole; of each safetensors file the header (names, types,
    shapes and offsets of the tensors), the size, and blocks spread over the data, so that
    two trainings of one architecture are told apart.

    Args:
        path: The checkpoint.
        whole_weights: Hash every byte of the safetensors files too.

    Returns:
        `{"files": {name: {"num_bytes", "sha256" or "header_sha256" and "blocks_sha256"}},
        "sha256": …}` where the last is one digest over all of it.

    Raises:
        ModelError: A safetensors file is not whole.
    """
    files: dict[str, dict[str, Any]] = {}
    for file in sorted(entry for entry in path.iterdir() if entry.is_file()):
        if file.suffix == ".safetensors":
            header = _safetensors_header(file)
            files[file.name] = {
                "header_sha256": hashlib.sha256(header).hexdigest(),
                "blocks_sha256": _blocks_digest(file),
                "num_bytes": file.stat().st_size,
            }
            if whole_weights:
                with file.open("rb") as stream:
                    files[file.name]["sha256"] = _file_digest(stream)
        elif file.suffix in _SMALL_FILES and file.stat().st_size <= MAX_JSON_BYTES:
            content = file.read_bytes()
            files[file.name] = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "num_bytes": len(content),
            }
    summary = json.dumps(files, sort_keys=True).encode()
    return {"files": files, "sha256": hashlib.sha256(summary).hexdigest()}


def _blocks_digest(file: Path) -> str:
    """SHA-256 over evenly spread blocks, from the first to the last byte."""
    last = max(file.stat().st_size - _BLOCK_BYTES, 0)
    sha256 = hashlib.sha256()
    with file.open("rb") as stream:
        for number in range(_NUM_BLOCKS):
            stream.seek(last * number // (_NUM_BLOCKS - 1))
            sha256.update(stream.read(_BLOCK_BYTES))
    return sha256.hexdigest()


def _file_digest(stream: BinaryIO) -> str:
    sha256 = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        sha256.update(chunk)
    return sha256.hexdigest()


def _checked(path: Path | None) -> Path:
    if path is None:
        raise ModelError(
            "model_path is not set; put the checkpoint's folder there or pass "
            "--set model.model_path=FOLDER. To try the harness without weights: "
            "bash scripts/mm_run.sh vocalsound_mini qwen2_audio_tiny"
        )
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise ModelError(f"model_path {path} {what}; give the checkpoint's folder")
    for name in _NEEDED_FILES:
        if not (path / name).is_file():
            raise ModelError(f"model_path {path} has no {name}; give the checkpoint's folder")
    _check_architecture(path)
    if not weight_files(path):
        raise ModelError(
            f"model_path {path} has no *.safetensors; other weight formats can run code when "
            "they are loaded and are not accepted"
        )
    _check_weights(path)
    return path


def _check_architecture(path: Path) -> None:
    is_own = is_qwen2_audio(path)
    # transformers 5 puts the feature extractor's settings among the processor's.
    readable = _PROCESSOR_FILES[: 1 if is_own else 2]
    if not any((path / name).is_file() for name in readable):
        raise ModelError(f"model_path {path} has no {readable[0]}; give the checkpoint's folder")
    refuse_foreign_code(path)
    if is_own:
        refuse_other_classes(path, QWEN2_AUDIO_CLASSES)
    else:
        check_files_of_another(path)


def _check_weights(path: Path) -> None:
    shards = _indexed_shards(path)
    missing = [name for name in shards if not (path / name).is_file()]
    if missing:
        raise ModelError(
            f"{path}: weight files are missing: {', '.join(missing[:5])}; download them again"
        )
    if not shards and not (path / "model.safetensors").is_file():
        raise ModelError(f"{path}: has neither model.safetensors nor {_INDEX_FILE}")
    for file in weight_files(path):
        _safetensors_header(file)


def _indexed_shards(path: Path) -> list[str]:
    index_file = path / _INDEX_FILE
    if not index_file.is_file():
        return []
    weight_map = read_object(index_file).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(name, str) for name in weight_map.values()
    ):
        raise ModelError(f"{index_file}: has no usable weight_map; download it again")
    return sorted(set(weight_map.values()))


def _safetensors_header(file: Path) -> bytes:
    """The header's JSON text of a file that has all the bytes that it promises.

    Format: eight bytes of header length, little-endian, the header, then the data, whose
    end is the largest `data_offsets` (safetensors' own format description).
    """
    broken = f"{file}: not a whole safetensors file; download it again"
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                raise ModelError(broken)
            header = stream.read(length)
        tensors = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name[:2] != "__"]
        if size != 8 + length + max(ends, default=0):
            raise ModelError(broken)
    except (OSError, ValueError, RecursionError, AttributeError, LookupError, TypeError) as error:
        raise ModelError(broken) from error
    return header
