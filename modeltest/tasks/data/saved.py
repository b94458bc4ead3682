"""A folder that the Hugging Face `datasets` library saved: audio and label columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from modeltest.errors import DataError, one_line
from modeltest.records import AudioSource, Sample
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.data.found import Listing, Problem, usable, without_duplicates
from modeltest.tasks.data.labels import LabelReader, NameFacts, metadata_text
from modeltest.tasks.data.texts import read_json

AUDIO_NAMES = ("audio", "file")
LABEL_NAMES = ("label", "labels", "answer", "class", "category")
SPLIT = "test"

_SINGLE_FILES = ("dataset_info.json", "state.json")
_SPLITS_FILE = "dataset_dict.json"
_OTHER_NAMES = {"spk_id": "speaker", "speaker_id": "speaker"}
_BATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns are used; `label` is empty where the clips' names tell the label."""

    audio: str
    label: str
    metadata: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Clip:
    """Where a row's audio is: in the data set, or in the file `path`."""

    path: str
    is_embedded: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """One clip of the data set, its audio not yet read; without `source` there is none."""

    name: str
    source: AudioSource | None
    sample_id: str
    word: str
    name_facts: NameFacts | None
    metadata: Mapping[str, str]


def is_saved(root: Path) -> bool:
    """Whether a folder looks like the work of `save_to_disk`."""
    return (root / _SPLITS_FILE).is_file() or all((root / name).is_file() for name in _SINGLE_FILES)


def find_in_saved(root: Path, settings: TaskSettings) -> Listing:
    """Lists the test split, or the only split, of a saved data set.

    Encoded bytes stay on disk until a sample's source is read. No network is touched.

    Args:
        root: A folder for which `is_saved` holds.
        settings: The task. Where there is no label column, its `label.pattern` reads the
            label out of the clips' names.

    Raises:
        DataError: The data set cannot be read, or which column is which is not clear.
    """
    folder = _split_folder(root)
    dataset = _load(folder)
    reader = LabelReader(settings)
    columns = _find_columns(folder, dataset, settings.label.source == "file_name")
    problems: list[Problem] = []
    found = (_sample(row, reader) for row in _rows(folder, dataset, columns, reader))
    samples, duplicates = without_duplicates(usable(found, problems))
    return Listing(
        samples=samples,
        layout="saved data set" if folder == root else f"saved data set ({folder.name})",
        problems=(*problems, *duplicates),
    )


def _split_folder(root: Path) -> Path:
    path = root / _SPLITS_FILE
    if not path.is_file():
        return root
    try:
        splits = list(read_json(path)["splits"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: does not list the splits of a saved data set") from error
    if SPLIT in splits:
        return root / SPLIT
    if len(splits) == 1:
        return root / str(splits[0])
    named = ", ".join(map(str, splits)) or "none"
    raise DataError(
        f"{root}: has no split {SPLIT!r} (its splits: {named}); set local_dataset_path to the "
        "folder of one of them"
    )


def _load(folder: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{folder}: a saved data set needs the datasets library: pip install datasets"
        ) from error
    try:
        return datasets.load_from_disk(str(folder)).with_format(None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder}: not readable as a saved data set ({reason})") from error


def _find_columns(folder: Path, dataset: Any, names_tell: bool) -> _Columns:
    import datasets

    features = dataset.features
    typed = [name for name in features if isinstance(features[name], datasets.Audio)]
    audio = _only(folder, "audio", typed) or _only(folder, "audio", _named(features, AUDIO_NAMES))
    if not audio:
        raise DataError(f"{folder}: has no audio column (its columns: {', '.join(features)})")
    others = [name for name in features if name != audio]
    classes = [name for name in others if isinstance(features[name], datasets.ClassLabel)]
    label = _only(folder, "label", _named(others, LABEL_NAMES)) or _only(folder, "label", classes)
    if not label and not names_tell:
        raise DataError(f"{folder}: has no label column (its columns: {', '.join(features)})")
    scalar = [
        name
        for name in others
        if name != label and isinstance(features[name], (datasets.Value, datasets.ClassLabel))
    ]
    return _Columns(audio, label, tuple(scalar))


def _named(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    return [name for name in names if name.lower() in wanted]


def _only(folder: Path, what: str, candidates: Sequence[str]) -> str:
    """The only candidate, or empty where there is none.

    Raises:
        DataError: There are several.
    """
    if len(candidates) > 1:
        raise DataError(
            f"{folder}: which is the {what} column? {', '.join(candidates)}; keep one and "
            "save the data set again"
        )
    return candidates[0] if candidates else ""


def _rows(folder: Path, dataset: Any, columns: _Columns, reader: LabelReader) -> Iterator[_Row]:
    dataset, clips = _with_encoded_audio(folder, dataset, columns.audio)
    texts = {
        name: _column_texts(dataset, name) for name in (columns.label, *columns.metadata) if name
    }
    stems = [PurePosixPath(clip.path).stem for clip in clips]
    stems_are_ids = all(stems) and len(set(stems)) == len(stems)
    for index, clip in enumerate(clips):
        row_id = f"row-{index:06d}"
        name = one_line(clip.path) if stems_are_ids else row_id
        metadata = {_OTHER_NAMES.get(key, key): texts[key][index] for key in columns.metadata}
        source = None
        if clip.is_embedded:
            source = AudioSource(name, read=partial(_read_bytes, dataset, columns.audio, index))
        elif clip.path:
            source = AudioSource(name, path=str(folder / clip.path))
        yield _Row(
            name=name,
            source=source,
            sample_id=one_line(stems[index]) if stems_are_ids else row_id,
            word=texts[columns.label][index] if columns.label else "",
            name_facts=reader.read_stem(stems[index]),
            metadata=reader.named(metadata),
        )


def _with_encoded_audio(folder: Path, dataset: Any, audio: str) -> tuple[Any, list[_Clip]]:
    """The data set with its audio left encoded, and where each row's clip is.

    Raises:
        DataError: The column holds neither encoded audio nor paths.
    """
    import datasets

    clips = []
    try:
        dataset = dataset.cast_column(audio, datasets.Audio(decode=False))
        batches = dataset.select_columns([audio]).with_format("arrow").iter(_BATCH_ROWS)
        for chunk in (chunk for batch in batches for chunk in batch.column(audio).chunks):
            # Unlike field(), flatten() keeps the rows' own nulls.
            parts = dict(zip([part.name for part in chunk.type], chunk.flatten(), strict=True))
            is_embedded = parts["bytes"].is_valid().to_pylist()
            located = zip(parts["path"].to_pylist(), is_embedded, strict=True)
            clips += [_Clip(path or "", embedded) for path, embedded in located]
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise DataError(f"{folder}: the column {audio!r} holds no encoded audio") from error
    return dataset, clips


def _column_texts(dataset: Any, name: str) -> list[str]:
    import datasets

    feature = dataset.features[name]
    values = list(dataset[name])
    if isinstance(feature, datasets.ClassLabel):
        names = feature.names
        # -1 is the library's "no label".
        return [names[value] if value is not None and value >= 0 else "" for value in values]
    return [metadata_text(value) for value in values]


def _read_bytes(dataset: Any, audio: str, index: int) -> bytes:
    return bytes(dataset[index][audio]["bytes"])


def _sample(row: _Row, reader: LabelReader) -> Sample | Problem:
    if row.source is None:
        return Problem(row.name, "missing: the row holds no audio")
    from_name = None if row.name_facts is None else reader.choice(row.name_facts.word)
    from_column = reader.choice(row.word)
    if row.word and from_column is None:
        return Problem(row.name, reader.not_a_choice(row.word))
    if from_column and from_name and from_column != from_name:
        what = f"labels disagree: the column says {from_column!r}, the name {from_name!r}"
        return Problem(row.name, what)
    label = from_column or from_name
    if label is None:
        return Problem(row.name, "no label: neither a column nor its name tells one")
    of_name = row.name_facts.metadata if row.name_facts and from_name else {}
    return Sample(row.sample_id, (row.source,), label, {**of_name, **row.metadata})
