"""What the reports read of a manifest, and of which type it has to be.

Whoever edits a manifest can make its digest anew, so a right digest says nothing of its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modeltest.errors import DataError, one_line
from modeltest.runlog.layout import MANIFEST_NAME
from modeltest.runlog.sweep_record_shape import is_count, is_seconds

_LONGEST_SHOWN = 60

_TEXT, _COUNT, _TEXTS, _ANYTHING = "text", "a count", "a list of texts", "a mapping"
_OPTIONAL_TEXT, _OPTIONAL_TRUTH = "text or null", "true, false or null"
_TRUTH, _SECONDS, _SIZES = "true or false", "a number of seconds", "a list of counts from 1"
_CLIPS = "a list of clips"
_PROBES = "lists of counts by name, or nothing"
_PUBLISHED = "a list of published shares with their sources, or nothing"
# Manifests of before it was thought of lack it.
_NEW_TEXT, _NEW_TRUTH = "text, null or nothing", "true, false or nothing"

# Sums and products of plans stay small numbers.
_MAX_BLOCKS = 1_000_000

_SHARED: Mapping[str, str] = {
    "started": _TEXT,
    "place.run_id": _TEXT,
    "model.name": _TEXT,
    "model.overrides": _TEXTS,
    "prompt.rendered": _TEXT,
    "identity_sha256": _TEXT,
    "data.sha256": _TEXT,
    "data.num_samples": _COUNT,
    "data.num_available": _COUNT,
    "data.warnings": _TEXTS,
    "device.name": _TEXT,
    "device.simulated": _NEW_TRUTH,
    "tool.version": _TEXT,
    "tool.commit": _OPTIONAL_TEXT,
    "tool.dirty": _OPTIONAL_TRUTH,
    "tool.unchecked": _NEW_TEXT,
}
_EVAL: Mapping[str, str] = {
    "labels": _TEXTS,
    "dp": _COUNT,
    "task.name": _TEXT,
    "task.overrides": _TEXTS,
    "task.settings.version": _TEXT,
    "task.settings.metrics": _TEXTS,
    "task.settings.slices.by": _TEXTS,
    "task.settings.published": _PUBLISHED,
    "model.settings.attention": _TEXT,
    "packages.torch": _OPTIONAL_TEXT,
    "packages.transformers": _OPTIONAL_TEXT,
    "probes": _PROBES,
}
_PERF: Mapping[str, str] = {
    "identity": _ANYTHING,
    "clips": _CLIPS,
    "sweep.batch_sizes": _SIZES,
    "sweep.modes": _TEXTS,
    "sweep.max_new_tokens": _COUNT,
    "sweep.num_passes": _COUNT,
    "sweep.min_repeats": _COUNT,
    "sweep.min_seconds": _SECONDS,
    "sweep.isolate": _TRUTH,
    "sweep.clip_source": _TEXT,
    "certified": _TRUTH,
    "device.kind": _TEXT,
    "dtype": _TEXT,
    "engine": _TEXT,
    "attention": _TEXT,
}
_PERF_TASK: Mapping[str, str] = {"task.name": _TEXT, "task.overrides": _TEXTS}


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
    _check(manifest, folder, {**_SHARED, **_EVAL})
    if len(set(manifest["labels"])) != len(manifest["labels"]):
        raise _refusal(folder, "labels", "names a label twice")


def check_perf_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    """Makes sure that a sweep's manifest has all that its reports read.

    Args:
        manifest: As `read_manifest` returns it.
        folder: The run's.

    Raises:
        DataError: It has not.
    """
    task = {} if _at(manifest, "task") is None else _PERF_TASK
    _check(manifest, folder, {**_SHARED, **_PERF, **task})
    sweep = manifest["sweep"]
    for name in ("batch_sizes", "modes"):
        if len(set(sweep[name])) != len(sweep[name]):
            raise _refusal(folder, f"sweep.{name}", "names one twice")
    if len(sweep["batch_sizes"]) * len(sweep["modes"]) * sweep["num_passes"] > _MAX_BLOCKS:
        raise _refusal(folder, "sweep", f"plans more than {_MAX_BLOCKS} blocks")


def _check(manifest: Mapping[str, Any], folder: Path, parts: Mapping[str, str]) -> None:
    for name, wanted in parts.items():
        value = _at(manifest, name)
        if not _is(value, wanted):
            raise _refusal(folder, name, f"is {_shown(value)}, not {wanted}")


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
    if wanted in _LISTS:
        return isinstance(value, list) and all(map(_LISTS[wanted], value))
    if wanted == _COUNT:
        return is_count(value)
    if wanted == _PROBES:
        return value is ... or (
            isinstance(value, Mapping) and all(map(_are_counts, value.values()))
        )
    if wanted == _PUBLISHED:
        return value is ... or (isinstance(value, list) and all(map(_is_published, value)))
    if wanted == _SECONDS:
        return is_seconds(value)
    kinds: dict[str, tuple[type, ...]] = {
        _TEXT: (str,),
        _ANYTHING: (Mapping,),
        _TRUTH: (bool,),
        _OPTIONAL_TEXT: (str, type(None)),
        _OPTIONAL_TRUTH: (bool, type(None)),
        _NEW_TEXT: (str, type(None), type(...)),
        _NEW_TRUTH: (bool, type(...)),
    }
    return isinstance(value, kinds[wanted])


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(map(is_count, value))


def _is_published(each: object) -> bool:
    if not isinstance(each, Mapping):
        return False
    words = [each.get(name, "") for name in ("note", "model", "source")]
    return _is_share(each.get("value")) and all(words[1:]) and all(map(_is_text, words))


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_clip(clip: object) -> bool:
    return (
        isinstance(clip, Mapping)
        and isinstance(clip.get("name"), str)
        and isinstance(clip.get("sha256"), str)
        and is_seconds(clip.get("duration_s"))
    )


_LISTS: Mapping[str, Callable[[Any], bool]] = {
    _TEXTS: _is_text,
    _SIZES: lambda size: is_count(size) and size > 0,
    _CLIPS: _is_clip,
}
