"""What the reports read of an accuracy run's manifest, and of which type it has to be.

Whoever edits a manifest can make its digest anew, so a right digest says nothing of its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeltest.errors import DataError, one_line
from modeltest.runlog.layout import MANIFEST_NAME

_LONGEST_SHOWN = 60

_TEXT, _COUNT, _TEXTS, _ANYTHING = "text", "a count", "a list of texts", "a mapping"
_OPTIONAL_TEXT, _OPTIONAL_TRUTH = "text or null", "true, false or null"
# Manifests of before it was thought of lack it.
_NEW_TEXT = "text, null or nothing"

_PARTS: Mapping[str, str] = {
    "started": _TEXT,
    "labels": _TEXTS,
    "dp": _COUNT,
    "place": _ANYTHING,
    "task.name": _TEXT,
    "task.overrides": _TEXTS,
    "task.settings.version": _TEXT,
    "task.settings.metrics": _TEXTS,
    "task.settings.slices.by": _TEXTS,
    "model.name": _TEXT,
    "model.overrides": _TEXTS,
    "model.settings.attention": _TEXT,
    "prompt.rendered": _TEXT,
    "identity_sha256": _TEXT,
    "data.sha256": _TEXT,
    "data.num_samples": _COUNT,
    "data.num_available": _COUNT,
    "data.warnings": _TEXTS,
    "device.name": _TEXT,
    "packages.torch": _OPTIONAL_TEXT,
    "packages.transformers": _OPTIONAL_TEXT,
    "tool.version": _TEXT,
    "tool.commit": _OPTIONAL_TEXT,
    "tool.dirty": _OPTIONAL_TRUTH,
    "tool.unchecked": _NEW_TEXT,
}


def check_eval_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    """Makes sure that a manifest has all that the reports of an accuracy run read.

    Args:
        manifest: As `read_manifest` returns it.
        folder: The run's.

    Raises:
        DataError: It has not, or is another command's.
    """
    command = manifest.get("command")
    if command != "eval":
        raise DataError(f"{folder}: is no run of modeltest eval, but of {_shown(command)}")
    for name, wanted in _PARTS.items():
        value = _at(manifest, name)
        if not _is(value, wanted):
            raise _refusal(folder, name, f"is {_shown(value)}, not {wanted}")
    if len(set(manifest["labels"])) != len(manifest["labels"]):
        raise _refusal(folder, "labels", "names a label twice")


def _refusal(folder: Path, name: str, what: str) -> DataError:
    return DataError(f"{folder / MANIFEST_NAME}: {name} {what}; is {folder} a run?")


def _shown(value: Any) -> str:
    text = "missing" if value is ... else one_line(repr(value))
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _at(manifest: Mapping[str, Any], name: str) -> Any:
    value: Any = manifest
    for key in name.split("."):
        value = value.get(key, ...) if isinstance(value, Mapping) else ...
    return value


def _is(value: Any, wanted: str) -> bool:
    if wanted == _COUNT:
        return type(value) is int and 0 <= value < 1 << 63
    if wanted == _TEXTS:
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    kinds: dict[str, tuple[type, ...]] = {
        _TEXT: (str,),
        _ANYTHING: (Mapping,),
        _OPTIONAL_TEXT: (str, type(None)),
        _OPTIONAL_TRUTH: (bool, type(None)),
        _NEW_TEXT: (str, type(None), type(...)),
    }
    return isinstance(value, kinds[wanted])
