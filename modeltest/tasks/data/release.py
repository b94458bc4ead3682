"""The official release tree: `audio_16k/`, `datafiles/te.json`, `meta/`, the class list."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modeltest.errors import DataError, one_line
from modeltest.records import Sample
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.data.files import AudioFile, walk
from modeltest.tasks.data.found import Listing, Problem, usable, without_duplicates
from modeltest.tasks.data.labels import NAME_DOES_NOT_MATCH, LabelReader
from modeltest.tasks.data.speakers import read_speakers, with_speakers
from modeltest.tasks.data.texts import read_json, read_text

SPLIT_FILE = "datafiles/te.json"
CLASSES_FILE = "class_labels_indices_vs.csv"
AUDIO_FOLDERS = ("audio_16k", "audio_44k")

CLASS_NAMES: Mapping[str, str] = {
    "/m/01j3sz": "Laughter",
    "/m/07plz5l": "Sigh",
    "/m/01b_21": "Cough",
    "/m/0dl9sf8": "Throat clearing",
    "/m/01hsr_": "Sneeze",
    "/m/07ppn3j": "Sniff",
}
"""AudioSet id → display name, as the release's class list has them."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One clip of the split: the base name of its file, its AudioSet id."""

    file_name: str
    class_id: str


def is_release(root: Path) -> bool:
    """Whether a folder looks like the official release."""
    return (root / SPLIT_FILE).is_file() and bool(_audio_folders(root))


def find_in_release(root: Path, settings: TaskSettings) -> Listing:
    """Lists the test split of a release tree.

    A clip's label is that of its AudioSet id; where labels come from file names, the name
    must say the same. Clips are found by their base name, with any audio ending.

    Args:
        root: A folder for which `is_release` holds.
        settings: The task.

    Raises:
        DataError: The split or the class list cannot be used.
    """
    audio_folder, *other_folders = _audio_folders(root)
    files = walk(root)
    clips = _by_stem(name for name in files.names if name.startswith(f"{audio_folder}/"))
    entries, problems = _read_split(root / SPLIT_FILE)
    class_names = _read_class_names(root / CLASSES_FILE)
    reader = LabelReader(settings)
    names_tell = settings.label.source == "file_name"
    found = (_sample(entry, root, clips, class_names, reader, names_tell) for entry in entries)
    unique, duplicates = without_duplicates(usable(found, problems))
    samples, warnings = with_speakers(unique, read_speakers(root))
    if other_folders:
        warnings.insert(0, f"clips are taken from {audio_folder}/, not {', '.join(other_folders)}")
    return Listing(
        samples=samples,
        layout=f"release tree ({audio_folder})",
        passed_over=files.passed_over,
        problems=(*files.problems, *problems, *duplicates),
        warnings=tuple(warnings),
    )


def _audio_folders(root: Path) -> list[str]:
    """The folders `audio*`, the ones the release has first."""
    found = sorted(path.name for path in root.glob("audio*") if path.is_dir())
    return sorted(found, key=lambda name: (name not in AUDIO_FOLDERS, name))


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    by_stem: dict[str, list[str]] = {}
    for name in names:
        by_stem.setdefault(PurePosixPath(name).stem, []).append(name)
    return by_stem


def _sample(
    entry: _Entry,
    root: Path,
    clips: Mapping[str, list[str]],
    class_names: Mapping[str, str],
    reader: LabelReader,
    names_tell: bool,
) -> Sample | Problem:
    found = _clip(entry, clips)
    if isinstance(found, Problem):
        return found
    file = AudioFile(PurePosixPath(found), root)
    name = file.name
    class_name = class_names.get(entry.class_id)
    if class_name is None:
        return Problem(name, f"no label: {entry.class_id!r} is not in {CLASSES_FILE}")
    label = reader.choice(class_name)
    if label is None:
        return Problem(name, reader.not_a_choice(class_name))
    metadata: Mapping[str, str] = {}
    if names_tell:
        facts = reader.read_stem(file.relative.stem)
        if facts is None:
            return Problem(name, NAME_DOES_NOT_MATCH)
        if reader.choice(facts.word) != label:
            what = f"labels disagree: {SPLIT_FILE} says {label!r}, the name {facts.word!r}"
            return Problem(name, what)
        metadata = facts.metadata
    return Sample(one_line(file.relative.stem), (file.source(),), label, metadata)


def _clip(entry: _Entry, clips: Mapping[str, list[str]]) -> str | Problem:
    """The entry's file: of its very name, else the one with another audio ending."""
    same_stem = clips.get(PurePosixPath(entry.file_name).stem, [])
    paths = [path for path in same_stem if PurePosixPath(path).name == entry.file_name]
    paths = paths or same_stem
    if not paths:
        return Problem(one_line(entry.file_name), f"missing: {SPLIT_FILE} names it")
    if len(paths) > 1:
        what = f"duplicate: {one_line(paths[0])} and {one_line(paths[1])}"
        return Problem(one_line(entry.file_name), what)
    return paths[0]


def _read_split(path: Path) -> tuple[list[_Entry], list[Problem]]:
    """The split's entries, and a problem for each that is not of the known form.

    Raises:
        DataError: The file is not JSON or holds no list of entries.
    """
    try:
        content: Any = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from error
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: holds no list of clips under 'data'")
    entries, problems = [], []
    for number, row in enumerate(rows, start=1):
        wav, class_id = (row.get("wav"), row.get("labels")) if isinstance(row, dict) else (0, 0)
        if isinstance(wav, str) and isinstance(class_id, str) and wav:
            # The paths are those of the machine on which the release was made.
            file_name = wav.replace("\\", "/").rsplit("/", 1)[-1]
            entries.append(_Entry(file_name, class_id.strip()))
        else:
            what = "no label: it needs 'wav' and 'labels'"
            problems.append(Problem(f"{SPLIT_FILE} entry {number}", what))
    return entries, problems


def _read_class_names(path: Path) -> Mapping[str, str]:
    """AudioSet id → display name, the known six where there is no class list.

    Raises:
        DataError: The class list cannot be read or lacks a column.
    """
    try:
        with io.StringIO(read_text(path), newline="") as file:
            return {row["mid"].strip(): row["display_name"] for row in csv.DictReader(file)}
    except FileNotFoundError:
        return CLASS_NAMES
    except (OSError, UnicodeError, csv.Error, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a class list with the columns mid, display_name") from error
