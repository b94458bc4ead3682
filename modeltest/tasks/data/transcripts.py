"""Clips with what is said in them: one clip per row of a table, or one per table and row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modeltest.errors import DataError, one_line
from modeltest.records import Sample
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.data.files import AudioFile, walk
from modeltest.tasks.data.found import Listing, Problem, usable, without_duplicates
from modeltest.tasks.data.labels import LabelReader
from modeltest.tasks.data.tables import Row, read_table
from modeltest.tasks.words import plain_words, require_jiwer

REFERENCE_SEPARATOR = " / "
"""Between the references of one sample's clips; punctuation, so it is no word."""

_AUDIO = "audio"
_NO_CLIP = PurePosixPath("").as_posix()
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


@dataclass(frozen=True, slots=True)
class _Cell:
    """One row of one table.

    Attributes:
        table: The table.
        number: The row's number in the file.
        clip: Path of the clip below the data folder, or as the table has it.
        reference: What is said; empty where the table has no such column.
        metadata: The other columns.
    """

    table: str
    number: int
    clip: str
    reference: str
    metadata: dict[str, str]

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"row {self.number} of {self.table}"


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of a task, row by row.

    Attributes:
        rows: The rows of all tables that stand at one place; at least one.
        have_references: Every table has the column of references.
    """

    rows: list[tuple[_Cell, ...]]
    have_references: bool


def find_transcripts(root: Path, settings: TaskSettings) -> Listing:
    """Lists the samples that the tables of a transcription task name.

    Args:
        root: An existing folder.
        settings: Its `label` names the tables and the column of references.

    Returns:
        The samples; for paired tables in the order of the rows. A clip that no table names is
        a problem where each row is a clip, and a warning where rows are paired.

    Raises:
        DataError: A table cannot be used, or the tables have different numbers of rows.
        SettingsError: The library that knows what a word is is missing.
    """
    require_jiwer()
    label = settings.label
    is_paired = label.source == "paired_tables"
    names = label.paired_tables if is_paired else (label.table,)
    tables = _read_tables(root, names, label.reference_column)
    files = walk(root)
    there = set(files.names)
    problems: list[Problem] = []
    found = _samples(tables, LabelReader(settings), root, there)
    samples, duplicates = without_duplicates(usable(found, problems))
    unlisted = sorted(there - {cell.clip for row in tables.rows for cell in row})
    warnings = [*files.warnings()]
    if is_paired and unlisted:
        warnings.append(f"{len(unlisted)} clips are in no pair and are passed over")
    elif unlisted:
        what = f"no reference: {label.table} does not name it"
        problems += [Problem(one_line(path), what) for path in unlisted]
    if not tables.have_references:
        warnings.append(_no_references(names, label.reference_column))
    return Listing(
        samples=samples,
        layout=f"{len(names)} paired tables" if is_paired else "folder with a table",
        passed_over=files.passed_over,
        problems=(*files.problems, *problems, *duplicates),
        warnings=tuple(warnings),
    )


def _no_references(names: Sequence[str], column: str) -> str:
    return (
        f"no column {column!r} in {', '.join(names)}: what is said is not known, so there is no "
        "word error rate (label.reference_column)"
    )


def _read_tables(root: Path, names: Sequence[str], reference_column: str) -> _Tables:
    """Raises DataError: one cannot be used, or they do not fit together."""
    tables = [read_table(root, name, (_AUDIO,)) for name in names]
    for name, rows in zip(names, tables, strict=True):
        if not rows:
            raise DataError(f"{root / name}: has no rows")
        if len(rows) != len(tables[0]):
            raise DataError(
                f"{root / name}: has {len(rows)} rows, {names[0]} has {len(tables[0])}: the rows "
                f"pair up by their place, and row {min(len(rows), len(tables[0])) + 2} has no "
                "partner"
            )
    have = [reference_column in rows[0][1] for rows in tables]
    if len(set(have)) > 1:
        name = names[have.index(False)]
        raise DataError(
            f"{root / name}: lacks the column {reference_column!r}, which "
            f"{names[have.index(True)]} has; all tables need it, or none"
        )
    prefixes = [f"{_ordinal(place)}_" for place in range(len(names))] if len(names) > 1 else [""]
    cells = (
        [_cell(root, name, row, reference_column, prefix) for row in rows]
        for name, rows, prefix in zip(names, tables, prefixes, strict=True)
    )
    return _Tables(list(zip(*cells, strict=True)), have[0])


def _cell(root: Path, table: str, row: Row, reference_column: str, prefix: str) -> _Cell:
    number, values = row
    clip = PurePosixPath(values.pop(_AUDIO).replace("\\", "/"))
    if clip.is_relative_to(root.absolute().as_posix()):
        clip = clip.relative_to(root.absolute().as_posix())
    reference = " ".join(values.pop(reference_column, "").split())
    metadata = {f"{prefix}{key}": value for key, value in values.items() if key}
    return _Cell(table, number, clip.as_posix(), reference, metadata)


def _samples(
    tables: _Tables, reader: LabelReader, root: Path, there: set[str]
) -> Iterator[Sample | Problem]:
    first_place: dict[str, str] = {}
    for place, cells in enumerate(tables.rows, start=1):
        problems = [found for cell in cells if (found := _problem(cell, tables, there))]
        is_pair = len(cells) > 1
        if not is_pair and cells[0].clip in first_place:
            what = f"duplicate: {first_place[cells[0].clip]} and {cells[0].place}"
            problems = [Problem(one_line(cells[0].clip), what)]
        first_place.setdefault(cells[0].clip, cells[0].place)
        if problems:
            yield from problems
            continue
        files = [AudioFile(PurePosixPath(cell.clip), root) for cell in cells]
        stem = files[0].relative.with_suffix("").as_posix()
        yield Sample(
            sample_id=f"pair-{place:06d}" if is_pair else one_line(stem),
            audio=tuple(file.source() for file in files),
            truth=REFERENCE_SEPARATOR.join(cell.reference for cell in cells if cell.reference),
            metadata=reader.named({k: v for cell in cells for k, v in cell.metadata.items()}),
        )


def _problem(cell: _Cell, tables: _Tables, there: set[str]) -> Problem | None:
    name = one_line(cell.clip)
    if cell.clip == _NO_CLIP:
        return Problem(cell.place, f"missing: nothing in the column {_AUDIO!r}")
    if cell.clip not in there:
        return Problem(name, f"missing: {cell.place} names it")
    if tables.have_references and not plain_words(cell.reference):
        return Problem(name, f"no reference: {cell.place} has no words for it")
    return None


def _ordinal(place: int) -> str:
    return _ORDINALS[place] if place < len(_ORDINALS) else f"{place + 1}th"
