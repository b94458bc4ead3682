"""What decided two accuracy runs: what must be the same, what may differ, what nobody knows.

A difference of two accuracies says something of a device or an engine only where task, prompt,
data and model are one. Everything here is read out of manifests, which may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from modeltest.reports.comparison.agreement import Difference, differences, shown

Manifest = Mapping[str, Any]

_HASHES = ("sha256", "header_sha256", "blocks_sha256")
_SHORT_HASH = 12
# Of a checkpoint's folder: what decides no reply. The generation settings that count are
# recorded apart from the file, and sites add files of their own.
_NO_PART_OF_A_MODEL = ("configuration.json", "generation_config.json", "license*", "readme*")
# Ids of tokens belong to the checkpoint.
_OF_THE_MODEL = ("eos_token_id", "pad_token_id")
_QUESTION = ("kind", "prompt", "prompt_format")
_SCORING = ("answer", "choices")
_MAY_DIFFER = {
    "model settings": "model.name",
    "backend": "identity.backend.name",
    "service": "identity.backend.service",
    "address": "identity.backend.base_url",
    "version of the service": "identity.backend.version",
    "audio as sent": "identity.backend.audio",
    "device": "device.name",
    "dtype": "place.dtype",
    "engine": "identity.backend.engine",
    "attention": "model.settings.attention",
    "padding side": "identity.backend.padding_side",
    "batch size": "place.batch_size",
    "tp": "place.tp",
    "dp": "dp",
    "seed": "seed",
    "modeltest": "tool.version",
    "commit": "tool.commit",
    "Python": "python",
}


@dataclass(frozen=True, slots=True)
class Sameness:
    """Two manifests.

    Attributes:
        forbidden: Differences that make a comparison meaningless.
        of_the_model: Differences between two models, which the user may allow.
        allowed: Differences that may well be what the comparison is about.
        unknown: What could not be compared, and why.
    """

    forbidden: tuple[Difference, ...]
    of_the_model: tuple[Difference, ...]
    allowed: tuple[Difference, ...]
    unknown: tuple[str, ...]


def what_differs(first: Manifest, second: Manifest) -> Sameness:
    """Compares what decided run A with what decided run B."""
    one_side_is_a_service = _is_service(first) != _is_service(second)
    generation, unknown = _generation(first, second)
    models = list(_models(first, second))
    if one_side_is_a_service:
        unknown += [
            "the model's files: a service does not show them; that both runs used one checkpoint "
            "is for you to know",
            "the prompt as rendered: a service applies its own chat template",
        ]
    else:
        models += _differing("prompt as rendered", first, second, "prompt.rendered")
    if _is_service(first) and _is_service(second):
        unknown.append("the model's files: services do not show them")
    return Sameness(
        forbidden=(
            *_task(first, second),
            *_data(first, second),
            *(each for each in generation if not each[0].endswith(_OF_THE_MODEL)),
        ),
        of_the_model=(
            *models,
            *(each for each in generation if each[0].endswith(_OF_THE_MODEL)),
        ),
        allowed=tuple(_allowed(first, second)),
        unknown=tuple(unknown),
    )


def at(manifest: Manifest, path: str) -> Any:
    """A part of a manifest by its path of keys, or None."""
    value: Any = manifest
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _mapping(manifest: Manifest, path: str) -> Mapping[str, Any]:
    found = at(manifest, path)
    return found if isinstance(found, Mapping) else {}


def _is_service(manifest: Manifest) -> bool:
    return at(manifest, "identity.backend.base_url") is not None


def _task(first: Manifest, second: Manifest) -> Iterator[Difference]:
    """The question is the task's; tags and template around it are the model's."""
    paths = {
        "task": "task.name",
        "task version": "task.settings.version",
        **{name: f"task.settings.{name}" for name in (*_QUESTION, *_SCORING)},
        "labels": "labels",
        "max_new_tokens": "identity.max_new_tokens",
        "stop_pattern": "identity.stop_pattern",
        "long_audio": "identity.long_audio",
        "audio_rule": "identity.audio_rule",
    }
    if at(first, "task.settings.prompt_format") == "raw":
        paths["raw_prompt"] = "task.settings.raw_prompt"
    for name, path in paths.items():
        yield from _differing(name, first, second, path)


def _differing(name: str, first: Manifest, second: Manifest, path: str) -> Iterator[Difference]:
    a, b = at(first, path), at(second, path)
    if a != b:
        yield name, shown(a), shown(b)


def _data(first: Manifest, second: Manifest) -> Iterator[Difference]:
    """Runs over the first samples of one data set are left to the join of their samples."""
    a, b = (_mapping(manifest, "data") for manifest in (first, second))
    if a.get("sha256") == b.get("sha256"):
        return
    is_part = any(data.get("num_samples") != data.get("num_available") for data in (a, b))
    if is_part and a.get("num_available") == b.get("num_available"):
        return
    yield "data", _data_in_words(a), _data_in_words(b)


def _data_in_words(data: Mapping[str, Any]) -> str:
    return f"{data.get('num_available')} samples, sha256 {_short(data.get('sha256'))}"


def _generation(first: Manifest, second: Manifest) -> tuple[list[Difference], list[str]]:
    """Differences of the settings that both backends name, and which only one of them does."""
    a, b = (_mapping(manifest, "identity.backend.generation") for manifest in (first, second))
    # What is greedy has no use for a seed; a service may be sent it nevertheless.
    both = [name for name in a if name in b and name != "seed"]
    found = list(
        differences(
            {name: a[name] for name in both}, {name: b[name] for name in both}, "generation"
        )
    )
    alone = sorted({*a, *b} - {*a.keys() & b.keys(), "seed"})
    return found, [f"{', '.join(alone)}: not named by both backends"] if alone else []


def _models(first: Manifest, second: Manifest) -> Iterator[Difference]:
    a, b = (_mapping(manifest, "identity.backend.model.files") for manifest in (first, second))
    if a and b:
        yield from _files(a, b)
    elif _is_service(first) and _is_service(second):
        yield from _differing("model", first, second, "identity.backend.model.name")
    elif not (_is_service(first) or _is_service(second)):
        kinds = ["files" if files else _kind(m) for files, m in ((a, first), (b, second))]
        if kinds[0] != kinds[1]:
            yield "model", kinds[0], kinds[1]


def _kind(manifest: Manifest) -> str:
    """What stands for the model of a backend that reads no files."""
    return f"the backend {shown(at(manifest, 'identity.backend.name'))}"


def _files(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted({*first, *second}):
        if any(fnmatch(name.lower(), pattern) for pattern in _NO_PART_OF_A_MODEL):
            continue
        a, b = (files.get(name) for files in (first, second))
        if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
            yield f"model file {shown(name)}", _present(a), _present(b)
            continue
        # Only certified runs hash weights as a whole.
        both = [key for key in _HASHES if key in a and key in b]
        differing = [key for key in both if a[key] != b[key]]
        if differing or not both:
            key = differing[0] if differing else _HASHES[0]
            yield f"model file {shown(name)}", _short(a.get(key)), _short(b.get(key))


def _present(file: object) -> str:
    return "it" if file else "none"


def _short(digest: Any) -> str:
    return str(digest)[:_SHORT_HASH]


def _allowed(first: Manifest, second: Manifest) -> Iterator[Difference]:
    for name, path in _MAY_DIFFER.items():
        yield from _differing(name, first, second, path)
    a, b = (_mapping(manifest, "packages") for manifest in (first, second))
    yield from differences(a, b)
