"""A folder of clips, flat or nested, labelled by name, by folder or by a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from modeltest.errors import DataError, one_line
from modeltest.records import Sample
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.data.files import AudioFile, FoundFiles, walk
from modeltest.tasks.data.found import Listing, Problem, without_duplicates
from modeltest.tasks.data.labels import NAME_DOES_NOT_MATCH, LabelReader
from modeltest.tasks.data.release import is_release
from modeltest.tasks.data.speakers import read_speakers, with_speakers
from modeltest.tasks.data.tables import read_table

_Problems = list[Problem]


def find_in_folder(root: Path, settings: TaskSettings) -> Listing:
    """Lists a folder of audio files.

    Args:
        root: An existing folder.
        settings: Its `label` says where labels come from.

    Raises:
        DataError: There is no audio in the folder, or its table cannot be used.
    """
    files = walk(root)
    if not files.names:
        raise DataError(f"{root}: {_no_audio(files)}")
    reader = LabelReader(settings)
    problems: _Problems = []
    if settings.label.source == "file_name":
        found = _by_file_name(files.audio, reader, problems)
    elif settings.label.source == "folder":
        found = _by_folder(files.audio, reader, problems)
    else:
        found = _by_table(files, reader, settings.label.table, problems)
    unique, duplicates = without_duplicates(found)
    parent = root.resolve().parent
    part_of_release = is_release(parent)
    samples, warnings = with_speakers(unique, read_speakers(parent if part_of_release else root))
    if part_of_release:
        warnings.append(
            f"{root} is part of a release tree and all its clips are taken; for the test "
            f"split alone, set local_dataset_path to {parent}"
        )
    return Listing(
        samples=samples,
        layout="folder",
        passed_over=files.passed_over,
        problems=(*files.problems, *problems, *duplicates),
        warnings=(*files.warnings(), *warnings),
    )


def _by_file_name(
    files: Iterable[AudioFile], reader: LabelReader, problems: _Problems
) -> Iterator[Sample]:
    for file in files:
        facts = reader.read_stem(file.relative.stem)
        label = None if facts is None else reader.choice(facts.word)
        if facts is None:
            problems.append(Problem(file.name, NAME_DOES_NOT_MATCH))
        elif label is None:
            problems.append(Problem(file.name, reader.not_a_choice(facts.word)))
        else:
            # The stem alone, so that flattening subset folders changes no id.
            sample_id = one_line(file.relative.stem)
            yield Sample(sample_id, (file.source(),), label, facts.metadata)


def _by_folder(
    files: Iterable[AudioFile], reader: LabelReader, problems: _Problems
) -> Iterator[Sample]:
    for file in files:
        word = file.relative.parent.name
        label = reader.choice(word)
        if not word:
            problems.append(Problem(file.name, "no label: it lies in no class folder"))
        elif label is None:
            problems.append(Problem(file.name, reader.not_a_choice(word)))
        else:
            yield Sample(_path_id(file), (file.source(),), label)


def _by_table(
    files: FoundFiles, reader: LabelReader, table: str, problems: _Problems
) -> Iterator[Sample]:
    unlisted = set(files.names)
    listed: dict[str, int] = {}
    for number, row in read_table(files.root, table, ("audio", "label")):
        relative = PurePosixPath(row.pop("audio").replace("\\", "/"))
        path = relative.as_posix()
        name = one_line(path)
        word = row.pop("label")
        label = reader.choice(word)
        is_there = path in unlisted
        unlisted.discard(path)
        if path in listed:
            what = f"duplicate: rows {listed[path]} and {number} of {table}"
            problems.append(Problem(name, what))
        elif not is_there:
            what = f"missing: row {number} of {table} names it"
            problems.append(Problem(name, what))
        elif label is None:
            problems.append(Problem(name, reader.not_a_choice(word)))
        else:
            file = AudioFile(relative, files.root)
            yield Sample(_path_id(file), (file.source(),), label, reader.named(row))
        listed.setdefault(path, number)
    what = f"no label: {table} does not name it"
    problems += [Problem(one_line(path), what) for path in sorted(unlisted)]


def _path_id(file: AudioFile) -> str:
    # Stems repeat between class folders.
    return one_line(file.relative.with_suffix("").as_posix())


def _no_audio(files: FoundFiles) -> str:
    if files.problems:
        return f"{files.problems[0].name} {files.problems[0].what}"
    if ".parquet" in files.passed_over:
        return (
            "holds Parquet files and no audio files; load it once with the datasets library "
            "and save it with save_to_disk"
        )
    if not files.passed_over:
        return "is empty"
    counts = ", ".join(f"{count} {ending}" for ending, count in files.passed_over.items())
    return f"holds no audio file, only {counts}"
