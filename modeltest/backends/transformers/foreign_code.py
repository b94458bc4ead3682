"""Refuses checkpoints whose files would make transformers run or fetch anything foreign.

`trust_remote_code=False` alone does not suffice: releases of transformers have let a
configuration file override it (CVE-2026-5241), attention implementations can name a kernel
on the hub, and some tokenizers read pickles.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from modeltest.errors import ModelError

MAX_JSON_BYTES = 64 * 1024 * 1024
# Keys that name code, or weights or processors outside the files that were checked.
_REFUSED_KEYS = frozenset(
    {
        "auto_map", "trust_remote_code", "custom_generate", "custom_pipelines",
        "transformers_weights", "audio_tokenizer", "audio_tokenizer_name_or_path",
        "configuration_files",
    }
)  # fmt: skip
# What transformers passes on to timm, which loads pickles (`checkpoint_path`) and fetches.
_REFUSED_UNLESS_EMPTY = frozenset(
    {
        "model_args", "backbone_kwargs", "checkpoint_path", "use_pretrained_backbone",
        "use_timm_backbone",
    }
)  # fmt: skip
_TIMM_BACKBONE = "timm_backbone"
_TIMM_NAMES = ("architecture", "backbone")
_REFUSED_FILES = ("adapter_config.json", "audio_tokenizer_config.json", "custom_generate")
QWEN2_AUDIO_CLASSES: Mapping[str, Collection[str]] = {
    "processor_class": {"Qwen2AudioProcessor"},
    "feature_extractor_type": {"WhisperFeatureExtractor"},
    "tokenizer_class": {
        "Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend",
    },
}  # fmt: skip
# Their keys are words of the model's, not settings.
_VOCABULARIES = frozenset({"vocab.json", "tokenizer.json", "added_tokens.json"})
_NEVER = "modeltest never runs code that a checkpoint brings; give one that needs none"


def refuse_foreign_code(folder: Path) -> None:
    """Looks at every JSON file of a checkpoint, at any depth of nesting.

    Raises:
        ModelError: With file and key.
    """
    for name in _REFUSED_FILES:
        if (folder / name).exists():
            raise ModelError(f"{folder / name}: makes transformers load more than this folder")
    for file, key, value in _all_settings(folder):
        if key in _REFUSED_KEYS:
            raise ModelError(f"{file}: sets {key!r}; {_NEVER}")
        if "implementation" in key and any(mark in str(value) for mark in "/:|"):
            raise ModelError(f"{file}: {key!r} names a kernel to download; {_NEVER}")
        if file.name == "config.json" and _is_for_timm(key, value):
            raise ModelError(
                f"{file}: {key!r} is {str(value)[:80]!r}, with which timm could load a pickle; "
                "give a checkpoint without it"
            )


def refuse_other_classes(folder: Path, classes: Mapping[str, Collection[str]]) -> None:
    """Makes sure that a checkpoint's files name no other classes than these.

    Args:
        folder: The checkpoint.
        classes: Per key the class names that it may have, anywhere in the JSON files.

    Raises:
        ModelError: With file and key.
    """
    for file, key, value in _all_settings(folder):
        if value is not None and key in classes and _hashable(value) not in classes[key]:
            known = ", ".join(sorted(classes[key])) or "none"
            raise ModelError(f"{file}: {key!r} is {value!r}; supported: {known}")


def _is_for_timm(key: str, value: Any) -> bool:
    """Whether a setting lets timm load more than a network of its own with no weights."""
    if key in _TIMM_NAMES:  # `local-dir:`, `hf-hub:`
        return isinstance(value, str) and ":" in value
    if key == "model_type":
        return bool(value == _TIMM_BACKBONE)
    return key in _REFUSED_UNLESS_EMPTY and bool(value)


def read_json(file: Path) -> Any:
    """The content of a JSON file of a checkpoint.

    Raises:
        ModelError: It is no regular file, too large or not JSON.
    """
    try:
        if not file.is_file() or file.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{file}: not a file of at most {MAX_JSON_BYTES >> 20} MiB")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error}); download it again") from error


def read_object(file: Path) -> dict[str, Any]:
    """The content of a JSON file of a checkpoint that holds an object.

    Raises:
        ModelError: As `read_json`, or it holds something else.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise ModelError(f"{file}: is not a JSON object; download it again")
    return content


def _all_settings(folder: Path) -> Iterator[tuple[Path, str, Any]]:
    for file in sorted(folder.glob("*.json")):
        if file.name not in _VOCABULARIES and not file.name.endswith(".index.json"):
            yield from ((file, key, value) for key, value in _settings(read_json(file)))


def _settings(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep; without recursion."""
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value
