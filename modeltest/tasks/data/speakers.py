"""Speaker metadata of a release tree: the JSON files of its `meta/` folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modeltest.records import Sample
from modeltest.tasks.data.labels import metadata_text
from modeltest.tasks.data.packed import pack_samples
from modeltest.tasks.data.texts import read_json

META_FOLDER = "meta"

_COLUMNS = ("speaker", "gender", "age", "country", "native_language", "health")
_OTHER_NAMES = {
    "spk_id": "speaker",
    "spk": "speaker",
    "speaker_id": "speaker",
    "id": "speaker",
    "sex": "gender",
    "native_country": "country",
    "language": "native_language",
    "health_condition": "health",
}
_MAX_NAMED_SPEAKERS = 3
_GENDERS = {"f": "female", "m": "male"}


@dataclass(frozen=True, slots=True)
class Speakers:
    """What is known of each speaker.

    Attributes:
        by_id: Speaker → gender, age, country, native_language, health, where known.
        warnings: Files and entries that could not be used.
    """

    by_id: Mapping[str, Mapping[str, str]]
    warnings: tuple[str, ...] = ()


def read_speakers(root: Path) -> Speakers:
    """Reads `meta/te_meta.json`, else `meta/all_meta.json`, else all `meta/*_meta.json`.

    Takes a list of entries, a mapping from speaker to entry, or either of them under
    `data`. An entry is a list in the release's order (speaker, gender, age, country, native
    language, health) or a mapping with these names. Metadata is never worth an error: what
    cannot be read becomes a warning.

    Args:
        root: The folder that may hold `meta/`.
    """
    by_id: dict[str, Mapping[str, str]] = {}
    warnings = []
    for path in _meta_files(root / META_FOLDER):
        name = f"{META_FOLDER}/{path.name}"
        try:
            content = read_json(path)
        except (OSError, ValueError, RecursionError) as error:
            warnings.append(f"{name}: not readable as JSON ({type(error).__name__}), left out")
            continue
        num_bad = 0
        for speaker, entry in _entries(content):
            facts = _facts(speaker, entry)
            if facts is None:
                num_bad += 1
            else:
                by_id[facts.pop("speaker")] = facts
        if num_bad:
            warnings.append(f"{name}: {num_bad} entries are not of a known form, left out")
    return Speakers(by_id, tuple(warnings))


def with_speakers(
    samples: Sequence[Sample], speakers: Speakers
) -> tuple[Sequence[Sample], list[str]]:
    """Adds to each sample what is known of its speaker; what the sample says itself stays.

    Returns:
        The samples, packed, and all warnings, those of reading the metadata among them.
    """
    warnings = list(speakers.warnings)
    if not speakers.by_id:
        return samples, warnings
    contradicted: set[str] = set()
    joined = pack_samples(_with_speaker(sample, speakers, contradicted) for sample in samples)
    if contradicted:
        named = ", ".join(sorted(contradicted)[:_MAX_NAMED_SPEAKERS])
        warnings.append(
            f"{META_FOLDER}/ contradicts the gender in the file names of {len(contradicted)} "
            f"speakers ({named}{', …' if len(contradicted) > _MAX_NAMED_SPEAKERS else ''}); "
            "the file names count"
        )
    return joined, warnings


def _with_speaker(sample: Sample, speakers: Speakers, contradicted: set[str]) -> Sample:
    speaker = sample.metadata.get("speaker", "")
    known = speakers.by_id.get(speaker, {})
    own_gender = sample.metadata.get("gender", "")
    if own_gender and known.get("gender", own_gender) != own_gender:
        contradicted.add(speaker)
    return replace(sample, metadata={**known, **sample.metadata})


def _meta_files(folder: Path) -> list[Path]:
    for name in ("te_meta.json", "all_meta.json"):
        if (folder / name).is_file():
            return [folder / name]
    return sorted(path for path in folder.glob("*_meta.json") if path.is_file())


def _entries(content: Any) -> list[tuple[str, Any]]:
    """Pairs of speaker (empty where the entry names it) and entry."""
    if isinstance(content, dict) and isinstance(content.get("data"), (list, dict)):
        content = content["data"]
    if isinstance(content, dict):
        return [(str(speaker), entry) for speaker, entry in content.items()]
    return [("", entry) for entry in content] if isinstance(content, list) else [("", content)]


def _facts(speaker: str, entry: Any) -> dict[str, str] | None:
    """The entry's facts, `speaker` among them, or None where its form is unknown."""
    if isinstance(entry, dict):
        named = {_canonical(key): value for key, value in entry.items()}
    elif isinstance(entry, list) and len(entry) == len(_COLUMNS):
        named = dict(zip(_COLUMNS, entry, strict=True))
    elif isinstance(entry, list) and speaker and len(entry) == len(_COLUMNS) - 1:
        named = dict(zip(_COLUMNS[1:], entry, strict=True))
    else:
        return None
    if speaker:
        named["speaker"] = speaker
    texts = {key: metadata_text(named.get(key)) for key in _COLUMNS}
    facts = {key: text for key, text in texts.items() if text}
    if "gender" in facts:
        gender = facts["gender"].lower()
        facts["gender"] = _GENDERS.get(gender, gender)
    return facts if "speaker" in facts else None


def _canonical(key: str) -> str:
    name = key.strip().lower().replace(" ", "_")
    return _OTHER_NAMES.get(name, name)
